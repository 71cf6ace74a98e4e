"""Performs a drill: prepare, inject, wait until it is detected, acted upon and over, clean up.

A fact with a time of its own (an alert that fired) counts from that, any other from when it was
seen, at most a second late. Whatever happens, what the drill made is removed; a runner that was
killed does that first when it starts again. Imported by `runbooks.runner`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import structlog

from runbooks.drills.detecting import Detecting, moment
from runbooks.drills.drill import Fault, Scene
from runbooks.drills.faults import FAULTS
from runbooks.drills.load import Load
from runbooks.drills.rescue import Late, Rescue, until
from runbooks.drills.site import Broken, Site
from runbooks.start_request import Refused
from runbooks.walk.box import Box
from storage import drills, errors, freezes, intents, runs
from storage.drills import Drill
from storage.home.paths import Home
from storage.intents import Intent

NEEDS_BYTES: Final = 500_000_000
"""Memory that has to be free for the drill's worker, server and load."""
_MARGIN_S: Final = 900
_SCRATCH: Final = "drill-"

_log = structlog.get_logger("drills")


class Drilling:
    """One drill, for the intent that asked for it."""

    def __init__(self, box: Box, home: Home, intent: Intent) -> None:
        self._box = box
        self._home = home
        self._intent = intent

    async def go(self) -> str:
        """Perform it; the sentence that it ends with.

        Raises:
            Refused: there is no such drill, or the box cannot bear one now.
            Broken: it failed; the message says how.
        """
        name = self._intent.target
        if name not in FAULTS:
            raise Refused(f"There is no drill {name}; there are {', '.join(FAULTS)}.")
        before = await self._box.read(lambda s: drills.of_intent(s, self._intent.id))
        if before is not None and before.state is not drills.State.RUNNING:
            return before.reason or f"{name}: {before.state.value}."
        site = Site(self._box, self._home, self._intent, name)
        if before is not None:  # the runner was killed during it
            with contextlib.suppress(errors.StorageError):
                await self._abort(site)
            left = await site.remove()
            for scratch in self._home.root.glob(f"{_SCRATCH}*"):
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
            raise Broken(await self._end(before, False, "the runner was restarted during it", left))
        await self._bearable()
        drill = await self._box.write(
            lambda s: drills.begin(
                s, name=name, intent_id=self._intent.id, actor=self._intent.actor,
                at_us=self._box.now_us(),
            )
        )  # fmt: skip
        return await self._perform(drill, FAULTS[name](), site)

    async def _bearable(self) -> None:
        """Refuse a box that is frozen, short of memory, or busy with another drill."""
        other = await self._box.read(drills.running)
        if other is not None and await self._over(other):
            await self._end(other, False, "the runner failed", [])
        elif other is not None:
            raise Refused(f"Drill {other.id} ({other.name}) is running; wait until it has ended.")
        if (frozen := await self._box.read(freezes.of_box)) is not None:
            raise Refused(f"The box is frozen ({frozen.words}); no drill begins.")
        free = psutil.virtual_memory().available
        if free < NEEDS_BYTES:
            raise Refused(
                f"A drill needs {NEEDS_BYTES // 10**6} MB of memory, and {free // 10**6} MB are "
                "free; try again when the box has more."
            )

    async def _over(self, drill: Drill) -> bool:
        """Whether the intent of a drill has ended, so that nothing performs it."""
        asked = await self._box.read(lambda s: intents.find(s, drill.intent_id))
        return asked.ended_at_us is not None

    async def _perform(self, drill: Drill, fault: Fault, site: Site) -> str:
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self._home.root))
        load = Load(site.url, site.key.secret, site.name, rate=fault.rate)
        scene = Scene(site, load, scratch)
        well, reason = False, ""
        try:
            await self._steps(drill, fault, scene)
            well = True
        except (Broken, Late, Refused, errors.StorageError, OSError) as error:
            reason = str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001 whatever happened, all of it is removed
            _log.exception("a drill failed", drill=drill.name)
            reason = f"{type(error).__name__}: {error}; runner.log has the trace"
        load.stop()
        with contextlib.suppress(errors.StorageError):
            await fault.end(scene)
            await self._abort(site)
        left = await site.remove()
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        said = await self._end(drill, well and not left, reason, left)
        if not well or left:
            raise Broken(said)
        return said

    async def _steps(self, drill: Drill, fault: Fault, scene: Scene) -> None:
        if fault.needs_service:
            await scene.site.remove()  # what a drill of this name may have left
            await scene.site.prepare()
            await scene.site.quiet(int(fault.detect_s + fault.recover_s) + _MARGIN_S)
        await fault.prepare(scene)
        if (rule := await fault.rule(scene)) is not None:
            await scene.site.rule(rule)
        await self._note(drill, injected_at_us=self._box.now_us())
        injecting = asyncio.create_task(fault.inject(scene))
        try:
            detecting = Detecting(self._box, drill, fault, scene, injecting)
            await self._until(detecting.look, fault.detect_s, "detected")
            if (really := scene.noted.get("limited_at_us")) is not None:
                await self._note(drill, injected_at_us=really)
            await injecting
        finally:
            injecting.cancel()
        if fault.runbook is None:
            did = await self._until(lambda: fault.acted(scene), fault.recover_s, "acted upon")
            at_us = moment(scene, "room_at_us", self._box)
            await self._note(drill, acted_at_us=at_us, acted_by=did)
            await self._until(partial(_over, fault, scene), fault.recover_s, "over")
        else:
            rescue = Rescue(self._box, drill, fault, scene)
            try:
                await rescue.act()
                await self._until(rescue.over, fault.recover_s, "over")
            finally:
                rescue.end()
        await self._note(drill, recovered_at_us=moment(scene, "kept_at_us", self._box))

    async def _abort(self, site: Site) -> None:
        """End the runs about the drill's service that still wait for a person."""
        for run in await self._box.read(runs.open_):
            if run.inputs.get("service") == site.name:
                await site.ask("runbooks.abort", str(run.id))

    async def _until(self, found: Callable[[], Awaitable[str | None]], s: float, what: str) -> str:
        return await until(self._box, found, s, what)

    async def _note(self, drill: Drill, **known: object) -> None:
        await self._box.write(lambda s: drills.note(s, drill.id, **known))

    async def _end(self, drill: Drill, well: bool, reason: str, left: list[str]) -> str:
        if left:
            reason = f"{reason}; " * bool(reason) + "not removed: " + "; ".join(left)
        state = drills.State.PASSED if well else drills.State.FAILED
        now = self._box.now_us()
        await self._box.write(lambda s: drills.end(s, drill.id, state, reason or None, at_us=now))
        known = await self._box.read(lambda s: drills.find(s, drill.id))
        return f"{drill.name} {state.value}: {reason or _times(known)}."


def _times(drill: Drill) -> str:
    def seconds(at_us: int | None) -> str:
        took = drill.took_us(at_us)
        return "-" if took is None else f"{took / 1e6:.1f} s"

    measured = ""
    if drill.alert_id is not None and drill.measured_at_us is not None:
        measured = f", measured after {seconds(drill.measured_at_us)} ({drill.measured_by})"
    return (
        f"detected after {seconds(drill.detected_at_us)} ({drill.detected_by}){measured}, acted "
        f"upon after "
        f"{seconds(drill.acted_at_us)} ({drill.acted_by}), over after "
        f"{seconds(drill.recovered_at_us)}"
    )


async def _over(fault: Fault, scene: Scene) -> str | None:
    return "the fault is over" if await fault.recovered(scene) else None
