"""A pool with one instance, for tests of a worker: its client, with the pool's calls beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from engine.backends.expected_starts import ExpectedStarts
from engine.backends.pending import Receiver
from engine.backends.pool import Pool
from engine.backends.worker_client import WorkerClient
from engine.serving import wire
from storage.home import clock

_NAME: Final = "ops-1.0.0:1"


class OneWorker(WorkerClient):
    """The client of a pool's only instance. Made in a running loop; connects after `start`."""

    def __init__(
        self,
        socket: Path,
        *,
        on_hello: Callable[[wire.Hello], None] = lambda _: None,
        on_step: Callable[[wire.Step], None] = lambda _: None,
    ) -> None:
        renderer = cast("Any", None)  # no prompt is rendered here
        self.pool = Pool(
            "ops-1.0.0",
            lambda _name, _pool: self,
            renderer,
            ExpectedStarts(clock.monotonic_us),
            now_us=clock.monotonic_us,
        )
        super().__init__(
            socket,
            pending=self.pool.pending,
            on_change=self.pool.dispatch,
            on_hello=on_hello,
            on_step=on_step,
        )

    def start(self) -> None:
        """Keep connected until `stop`."""
        self.pool.follow((_NAME,), {}, {})

    async def stop(self) -> None:
        """Refuse what has not ended, and disconnect."""
        await self.pool.close("the test is over")

    def submit(self, submit: wire.Submit, receiver: Receiver) -> int:
        """As the pool's."""
        return self.pool.submit(submit, receiver)

    async def score(self, score: wire.Score) -> wire.Scored:
        """As the pool's."""
        return await self.pool.score(score)

    def cancel(self, id: int) -> None:
        """As the pool's."""
        self.pool.cancel(id)
