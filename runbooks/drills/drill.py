"""What a drill is: how its fault is injected, which fact shows it, and what takes it away.

A drill either starts a runbook, or proves that the box takes the fault away by itself. Imported by
`runbooks.drills`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runbooks.drills.load import Ask, Load
from runbooks.drills.site import Site
from runbooks.values import Value
from storage import measures
from storage.measures import Traffic, Window
from storage.processes import Process, State


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

    async def worker_ready(self) -> Process | None:
        """The drill's worker, if it is ready and alive."""
        worker = await self.site.worker()
        if worker is None or worker.state is not State.READY or worker.silent_since_us is not None:
            return None
        return worker

    async def answers(self) -> bool:
        """Whether a request is answered now."""
        return await self.load.once(Ask())


class Fault:
    """One drill. The methods say nothing while what they wait for has not come."""

    runbook: str | None = None
    detect_s: float = 90.0
    recover_s: float = 240.0
    rate: Callable[[str], bool | None] = staticmethod(lambda _: None)
    needs_service = True

    async def prepare(self, scene: Scene) -> None:
        """What there is before the fault."""

    async def inject(self, scene: Scene) -> None:
        """The fault."""
        raise NotImplementedError

    async def detected(self, scene: Scene) -> str | None:
        """The fact that shows the fault, in words."""
        raise NotImplementedError

    async def inputs(self, scene: Scene) -> dict[str, str]:
        """The inputs of the runbook."""
        return {"service": scene.site.name}

    async def acted(self, scene: Scene) -> str | None:
        """What the box did by itself, in words; of a drill without a runbook."""
        del scene
        return None

    async def recovered(self, scene: Scene) -> bool:
        """Whether all is well again."""
        raise NotImplementedError

    async def end(self, scene: Scene) -> None:
        """Take back what no removal of the service does; called however the drill ended."""
