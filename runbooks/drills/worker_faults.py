"""Faults of workers: one that dies again and again, one that hangs again and again.

Only the drill's own worker gets a signal, by the process id that the node reports for it. A single
death is no alert by design, as the node restarts the worker within seconds; three of them are.
Imported by `runbooks.drills.faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Final

from runbooks.drills import site
from runbooks.drills.drill import Fault, Scene
from runbooks.drills.load import Ask
from storage.processes import Process

TIMES: Final = 3
"""As many as the rule crash-loop needs; the node gives a deployment up after five."""


class WorkerKilled(Fault):
    """SIGKILL for the drill's worker, three times; the node starts it again each time."""

    rules = ("crash-loop", "instance-down")
    detect_s = 240.0
    signal = signal.SIGKILL

    async def prepare(self, scene: Scene) -> None:
        """A quiet client, the worker that answers it, and alert rules that have seen it."""
        scene.load.ask(Ask(pause_s=0.5), 1)
        worker = await scene.ready()
        await scene.evaluated()
        scene.noted["restarts"] = worker.restarts

    async def inject(self, scene: Scene) -> None:
        """The signal, each time that the worker is ready."""
        before = scene.noted["restarts"]
        for number in range(TIMES):
            worker = await self._ready(scene, int(before or 0) + number)
            if worker.pid is None or worker.restarts != int(before or 0) + number:
                raise site.Broken("the drill's worker was restarted by something else")
            scene.noted["pid"] = worker.pid
            os.kill(worker.pid, self.signal)

    async def _ready(self, scene: Scene, restarts: int) -> Process:
        """The worker as soon as it was restarted so often and is ready."""
        async with asyncio.timeout(self.detect_s):
            while (worker := await scene.worker_ready()) is None or worker.restarts < restarts:
                await scene.site.box.news(0.5)
        return worker

    async def measured(self, scene: Scene) -> str | None:
        """The node says that it died."""
        worker = await scene.site.worker()
        before = scene.noted["restarts"]
        if worker is None or worker.restarts > int(before or 0):
            return "the node restarted the worker"
        return None if worker.state.value == "ready" else f"{worker.name} is {worker.state.value}"

    async def acted(self, scene: Scene) -> str | None:
        """The node started it again, each time."""
        worker = await scene.site.worker()
        before = scene.noted["restarts"]
        if worker is None or worker.restarts < int(before or 0) + TIMES:
            return None
        return f"the node restarted the worker {TIMES} times"

    async def recovered(self, scene: Scene) -> bool:
        """It is ready, and a request is answered."""
        return await scene.worker_ready() is not None and await scene.answers()


class WorkerStopped(WorkerKilled):
    """SIGSTOP for the drill's worker; the node sees that it is silent, kills and restarts it."""

    detect_s = 420.0
    signal = signal.SIGSTOP

    async def measured(self, scene: Scene) -> str | None:
        """The node says that it gives no sign of life."""
        worker = await scene.site.worker()
        if worker is not None and worker.silent_since_us is not None:
            return f"{worker.name} is silent: {worker.reason}"
        return await super().measured(scene)

    async def end(self, scene: Scene) -> None:
        """Let it continue, if it is still there."""
        worker = await scene.site.worker()
        if worker is not None and worker.pid is not None and worker.pid == scene.noted.get("pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)
