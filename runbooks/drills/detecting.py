"""How a drill's fault is detected: by the alert that fires about it, beside the figure behind it.

Watches both from the moment of the injection. Where no rule in force is about the fault, the figure
itself detects it. Reads the store and records in it; imported by `runbooks.drills.perform`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from runbooks.drills.drill import Fault, Scene
from runbooks.walk.box import Box
from storage import alert_rule_files, alert_rule_versions, alerts, drills
from storage.alert_rules import Rule
from storage.alerts import Alert, State
from storage.drills import Drill
from storage.store import Session


class Detecting:
    """The detection of one drill; `injecting` is the injection of its fault."""

    def __init__(
        self, box: Box, drill: Drill, fault: Fault, scene: Scene, injecting: asyncio.Task[None]
    ) -> None:
        self._box = box
        self._drill = drill
        self._fault = fault
        self._scene = scene
        self._injecting = injecting
        self._measured: str | None = None

    async def look(self) -> str | None:
        """What detected the fault, in words; None while nothing has.

        Raises:
            Broken: the fault could not be injected.
        """
        if self._injecting.done():
            self._injecting.result()
        if self._measured is None:
            await self._measure()
        rules = await self._box.read(self._in_force)
        if not rules:
            if self._measured is not None:
                at_us = moment(self._scene, "full_at_us", self._box)
                await self._note(detected_at_us=at_us, detected_by=self._measured)
            return self._measured
        fired = await self._fired(rules)
        if fired is None:
            return None
        for_s = rules[fired.rule].for_s
        waited = f" (`for` {alert_rule_files.written(for_s)})" if for_s else ""
        said = f"alert {fired.id}, {fired.rule}{waited}: {fired.summary.rstrip('.')}"
        await self._note(detected_at_us=fired.fired_at_us, detected_by=said, alert_id=fired.id)
        return said

    async def _measure(self) -> None:
        self._measured = await self._fault.measured(self._scene)
        if self._measured is not None:
            at_us = moment(self._scene, "full_at_us", self._box)
            await self._note(measured_at_us=at_us, measured_by=self._measured)

    async def _in_force(self, s: Session) -> dict[str, Rule]:
        """The rules in force that are about the fault; an operator may have removed some."""
        wanted = {*self._fault.rules, self._scene.site.name}
        known = await alert_rule_versions.in_force(s)
        found = {name: each.rule for name, each in known.items() if name in wanted}
        return {name: rule for name, rule in found.items() if rule is not None}

    async def _fired(self, rules: Collection[str]) -> Alert | None:
        """The alert of these rules about the drill that fired first."""
        names = await self._scene.site.names()
        since_us = self._drill.began_at_us
        found = [
            each
            for each in await self._box.read(alerts.active)
            if each.state is State.FIRING
            and each.rule in rules
            and names & set(each.about.values())
            and (each.fired_at_us or 0) >= since_us
        ]
        return min(found, key=lambda each: each.fired_at_us or 0, default=None)

    async def _note(self, **known: Any) -> None:
        await self._box.write(lambda s: drills.note(s, self._drill.id, **known))


def moment(scene: Scene, name: str, box: Box) -> int:
    """When something happened: as the drill's own process said, else now."""
    said = scene.noted.get(name)
    return said if isinstance(said, int) else box.now_us()
