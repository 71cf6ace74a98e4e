"""One job of embeddings or of a reranking on this box's workers.

Its inputs are sent in parts, so that no frame grows large and several instances share them; it
fails when one of them does. A part whose worker dies is computed again. Never starts a worker,
never records. Imported by `engine.backends.local`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Self

from engine.backends import translation
from engine.backends.fleet import Fleet
from engine.backends.pool import Pool
from engine.backends.worker_client import ResultReceiver
from engine.execution import failures
from engine.execution.job import Embed, Event, Finished, Job, Rerank, Vectors
from engine.serving import wire

PART: Final = 32
"""Inputs of one part."""


class _Part(ResultReceiver[wire.Embedded]):
    """Some of the inputs, the first of which has the index `first`."""

    def __init__(self, run: EmbeddingRun, first: int) -> None:
        super().__init__(wire.Embedded)
        self._run = run
        self.first = first
        self.id = 0
        self.over = False
        self.instance = ""
        self.embedded: wire.Embedded | None = None
        self.computed_tokens = self.busy_us = self.queue_us = 0

    def takes(self, result: wire.Result) -> bool:
        """Take the result, if it is one."""
        if not isinstance(result, wire.Embedded):
            return False
        self.embedded = result
        self._ended(sum(result.tokens), result.busy_us, result.queue_us)
        return True

    def refused(self, refused: wire.Refused) -> None:
        """It cannot be computed."""
        self._ended(0, refused.busy_us, 0)
        self._run.refused(self, refused)

    def finished(self, finished: wire.Finished) -> None:
        """It was cancelled."""
        self._ended(finished.prompt_tokens, finished.busy_us, finished.queue_us)

    def _ended(self, tokens: int, busy_us: int, queue_us: int) -> None:
        self.over = True
        self.instance = self._run.instance_of(self.id)
        self.computed_tokens, self.busy_us, self.queue_us = tokens, busy_us, queue_us
        self._run.wake()


class EmbeddingRun:
    """One job: a single batch, when all inputs were computed."""

    def __init__(
        self, fleet: Fleet, job: Job, input: Embed | Rerank, now_us: Callable[[], int]
    ) -> None:
        self._fleet = fleet
        self._job = job
        self._input = input
        self._now_us = now_us
        self._pool: Pool | None = None
        self._parts: list[_Part] = []
        self._waited_us = 0
        self._failure: failures.Failure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._told = False

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> tuple[Event, ...]:
        """The vectors and the end.

        Raises:
            failures.Failure: the job cannot be answered.
        """
        if self._told:
            raise StopAsyncIteration
        if self._pool is None:
            await self._start()
        while self._failure is None and not self._over:
            await self._woken()
        if self._failure is not None:
            raise self._failure
        self._told = True
        results = [part.embedded for part in self._parts if part.embedded is not None]
        vectors = Vectors(
            values=b"".join(each.values for each in results),
            width=results[0].width,
            tokens=tuple(count for each in results for count in each.tokens),
        )
        return (vectors, self._finish("stop"))

    async def aclose(self) -> tuple[Finished, ...]:
        """Cancel what is still running, and wait for the worker's counts."""
        self._cancel()
        while not self._over:
            await self._woken()
        return () if self._told else (self._finish("cancelled"),)

    async def _start(self) -> None:
        job = self._job
        pool = self._fleet.pool(job.release)
        await pool.introduced(job.queue_us / 1e6)
        self._waited_us = self._now_us() - job.arrived_us
        self._pool = pool
        inputs, query = _inputs(self._input)
        for first in range(0, len(inputs), PART):
            if self._failure is None:
                part = _Part(self, first)
                self._parts.append(part)
                embed = translation.embed(
                    job,
                    self._input,
                    inputs[first : first + PART],
                    query,
                    queue_us=max(1, job.queue_us - self._waited_us),
                    request=self._parts[0].id,
                )
                part.id = pool.embed(embed, part)

    @property
    def _over(self) -> bool:
        return all(part.over for part in self._parts)

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _cancel(self) -> None:
        for part in self._parts:
            if part.id and not part.over and self._pool is not None:
                self._pool.cancel(part.id)

    def _finish(self, reason: str) -> Finished:
        parts = self._parts
        return Finished(
            index=0,
            reason=reason,
            prompt_tokens=sum(part.computed_tokens for part in parts),
            completion_tokens=0,
            queue_us=self._waited_us + max((part.queue_us for part in parts), default=0),
            busy_us=sum(part.busy_us for part in parts),
            instance=next((part.instance for part in parts if part.instance), ""),
        )

    # called by the parts

    def wake(self) -> None:
        """A part has ended."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def refused(self, part: _Part, refused: wire.Refused) -> None:
        """The whole job fails; its other parts are cancelled."""
        if self._failure is None:
            self._failure = translation.failure(refused, self._input, first=part.first)
            self._cancel()
            self.wake()

    def instance_of(self, id: int) -> str:
        """The name of the instance that computes a part."""
        return "" if self._pool is None else self._pool.instance_of(id)


def _inputs(input: Embed | Rerank) -> tuple[tuple[tuple[str | int, ...], ...], str | None]:
    """The inputs as the worker takes them, and the query."""
    if isinstance(input, Rerank):
        return tuple((document,) for document in input.documents), input.query
    return input.inputs, None
