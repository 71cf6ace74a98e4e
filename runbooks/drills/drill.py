"""What a drill is: how its fault is injected, what shows it, and what takes it away.

A drill either starts a runbook, or proves that the box takes the fault away by itself. Imported by
`runbooks.drills`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runbooks.drills.load import Ask, Load
from runbooks.drills.site import Site
from runbooks.values import Value
from storage import alert_rounds, measures
from storage.alert_rules import Rule
from storage.exported_series import STEP_S
from storage.measures import Traffic, Window
from storage.processes import Process, State

FEWEST: Final = 3
"""Answers or ratings that a figure needs."""

_READY_S: Final = 120


@dataclass(slots=True)
class Scene:
    """A drill that is under way: its service, its load, and what was noted before the fault.

    `scratch` is a directory that is removed at the end.
    """

    site: Site
    load: Load
    scratch: Path
    noted: dict[str, Value] = field(default_factory=dict)

    async def traffic(self, seconds: int) -> Traffic:
        """What the requests of the drill's service did within the last seconds."""
        second = self.site.box.now_us() // 1_000_000
        window = Window.last(seconds, second)
        name = self.site.name
        return await self.site.box.read(lambda s: measures.traffic(s, window, service=name))

    async def p95_ms(self, seconds: int = 8) -> float | None:
        """The p95 latency of the last seconds."""
        found = measures.latency(await self.traffic(seconds), 0.95)
        return None if found is None else found / 1000

    async def measured(self) -> float | None:
        """The p95 latency in ms, once a few requests were answered and recorded."""
        async with asyncio.timeout(_READY_S):
            while (await self.traffic(8)).tally.ok < FEWEST:
                await self.site.box.news(1.0)
        return await self.p95_ms()

    async def worker_ready(self) -> Process | None:
        """The drill's worker, if it is ready and alive."""
        worker = await self.site.worker()
        if worker is None or worker.state is not State.READY or worker.silent_since_us is not None:
            return None
        return worker

    async def ready(self) -> Process:
        """The drill's worker as soon as it is ready and a request was answered."""
        async with asyncio.timeout(_READY_S):
            while (worker := await self.worker_ready()) is None or not self.load.answered:
                await self.site.box.news(1.0)
        return worker

    async def evaluated(self) -> None:
        """Wait until alert rules were evaluated over two points of what there is now."""
        since_s = self.site.box.now_us() // 1_000_000
        async with asyncio.timeout(_READY_S):
            while True:
                last = await self.site.box.read(alert_rounds.last)
                if last is not None and last.instant_s >= since_s + STEP_S:
                    return
                await self.site.box.news(1.0)

    async def answers(self) -> bool:
        """Whether a request is answered now."""
        return await self.load.once(Ask())


class Fault:
    """One drill. The methods say nothing while what they wait for has not come.

    `rules` are the shipped alert rules that are about the fault: it is detected when one of them
    fires about what the drill made. Without one it is detected by the figure itself.
    """

    runbook: str | None = None
    rules: tuple[str, ...] = ()
    detect_s: float = 90.0
    recover_s: float = 240.0
    rate: Callable[[str], bool | None] = staticmethod(lambda _: None)
    needs_service = True

    async def prepare(self, scene: Scene) -> None:
        """What there is before the fault."""

    async def rule(self, scene: Scene) -> Rule | None:
        """A rule that is in force during the drill, where no shipped one can be about a drill."""
        del scene
        return None

    async def inject(self, scene: Scene) -> None:
        """The fault."""
        raise NotImplementedError

    async def measured(self, scene: Scene) -> str | None:
        """The figure or fact that shows the fault, in words."""
        raise NotImplementedError

    async def inputs(self, scene: Scene) -> dict[str, str]:
        """The inputs of the runbook."""
        return {"service": scene.site.name}

    async def acted(self, scene: Scene) -> str | None:
        """What the box did by itself, in words; of a drill without a runbook."""
        del scene
        return None

    async def recovered(self, scene: Scene) -> bool:
        """Whether the fault is over."""
        raise NotImplementedError

    async def end(self, scene: Scene) -> None:
        """Take back what no removal of the service does; called however the drill ended."""
