"""The per-second tick: the second that is over is closed, and what may have changed is looked at.

Imported by `engine.gateway.server`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from engine.backends.fleet import Fleet
from engine.gateway.absences import Absences
from engine.gateway.context import Context
from engine.gateway.http.admission import Admission
from engine.gateway.http.refusals import Refusals
from engine.gateway.quarantine import Quarantine
from engine.gateway.remote_backends import Remotes

_SECOND_US: Final = 1_000_000
_AFTER_US: Final = 20_000
"""How long after its end a second is closed, so that its last events are counted."""

_log = structlog.get_logger("gateway.seconds")


class Seconds:
    """The tick of one gateway."""

    def __init__(
        self,
        context: Context,
        fleet: Fleet,
        remotes: Remotes,
        admission: Admission,
        refusals: Refusals,
        quarantine: Quarantine,
        absences: Absences,
    ) -> None:
        self._context = context
        self._fleet = fleet
        self._remotes = remotes
        self._admission = admission
        self._refusals = refusals
        self._quarantine = quarantine
        self._absences = absences

    async def run(self) -> None:
        """Until it is cancelled; rows are written concurrently."""
        context = self._context
        while True:
            into = context.now_us() % _SECOND_US
            await asyncio.sleep((_SECOND_US - into + _AFTER_US) / 1e6)
            try:
                self.close()
                context.recorder.begin()
                await context.catalog.look()
                await context.budgets.refresh()
                self._fleet.sweep()
                await self._absences.look()
                self._remotes.tick()
                self._refusals.tick()
                context.rejections.tick()
                await self._quarantine.write()
                await self._remotes.record(context.store, context.now_us())
            except Exception:  # noqa: BLE001 the next tick may succeed
                _log.exception("the per-second tick failed")

    def close(self) -> None:
        """Hand the rows of the second before this one to the recorder."""
        context, fleet, remotes = self._context, self._fleet, self._remotes
        windows, record = context.windows, context.recorder.sample
        second = context.now_us() // _SECOND_US - 1
        for row in windows.close(second, context.catalog.snapshot.live):
            record(row)
        held = fleet.held + remotes.held
        for row in windows.gateway.close(second, held, self._admission.count):
            record(row)
        windows.keep({instance.name for _, instance in fleet.instances()})
        context.metrics.forget(second, context.catalog.snapshot.live)
        for _, instance in fleet.instances():
            client = instance.client
            for row in windows.instance(instance.name).close(second, client.hello, client.knobs):
                record(row)
        for row in remotes.rows(second):
            record(row)
