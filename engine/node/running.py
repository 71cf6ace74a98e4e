"""The supervised processes of the node, each with its task.

Never decides which there should be. Imported by `engine.node.node`.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from engine.node.specs import Fact, Spec
from engine.node.supervised import Prepare, SupervisedProcess
from storage.home import clock

_RUNS = frozenset({"starting", "ready", "draining"})


class Running(Mapping[str, SupervisedProcess]):
    """By name. `tell` takes each fact, `on_end` is called when one has ended for good."""

    def __init__(
        self,
        keep: Callable[[Coroutine[None, None, None], str], asyncio.Task[None]],
        *,
        tell: Callable[[Fact], None],
        on_end: Callable[[], None],
    ) -> None:
        """`keep` runs a coroutine whose fault ends the node."""
        self._keep = keep
        self._tell = tell
        self._on_end = on_end
        self._processes: dict[str, SupervisedProcess] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __getitem__(self, name: str) -> SupervisedProcess:
        """The process of this name."""
        return self._processes[name]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which they were begun."""
        return iter(self._processes)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._processes)

    def begin(
        self,
        spec: Spec,
        started: subprocess.Popen[bytes] | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        """Keep one more; `started` and `prepare` as in `SupervisedProcess`."""
        process = SupervisedProcess(
            spec,
            monotonic_us=clock.monotonic_us,
            tell=self._tell,
            started=started,
            prepare=prepare,
        )
        self._processes[spec.name] = process
        self._tasks[spec.name] = self._keep(process.run(), spec.name)
        self._tasks[spec.name].add_done_callback(lambda _: self._on_end())

    def prune(self) -> None:
        """Forget processes that have ended for good."""
        for name in [name for name, task in self._tasks.items() if task.done()]:
            del self._processes[name], self._tasks[name]

    async def stop(self, names: list[str]) -> None:
        """Let these finish their work, and wait for them."""
        for name in names:
            self._processes[name].stop()
        await asyncio.gather(*(self._tasks[name] for name in names), return_exceptions=True)

    def kill(self) -> None:
        """Do not wait for anything to finish."""
        for each in self._processes.values():
            each.kill()

    def facts(self) -> list[Fact]:
        """The latest fact of each process."""
        return [each.fact for each in self.values() if each.fact.state in _RUNS]

    def state(self) -> list[dict[str, Any]]:
        """As the control socket reports them."""
        return [
            {
                "name": each.fact.name,
                "kind": each.fact.kind,
                "deployment": each.fact.deployment,
                "pid": each.fact.pid,
                "state": each.fact.state,
                "reason": each.fact.reason,
                "silent": each.fact.silent_us is not None,
                "restarts": each.fact.restarts,
            }
            for each in self.values()
        ]
