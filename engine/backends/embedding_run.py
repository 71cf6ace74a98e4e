"""One job of embeddings or of a reranking on this box's workers.

Its inputs are sent in parts, so that no frame grows large and several instances share them; a few
are sent at once, and the next one when one has ended. The job fails when a part does. A part whose
worker dies is computed again. Never starts a worker, never records. Imported by
`engine.backends.local`.
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
AT_ONCE: Final = 4
"""Parts that workers have at the same time: enough that none waits for the gateway."""


class _Part(ResultReceiver[wire.Embedded]):
    """Some of the inputs, the first of which has the index `first`; sent at `sent_us`."""

    def __init__(self, run: EmbeddingRun, first: int, sent_us: int) -> None:
        super().__init__(wire.Embedded)
        self._run = run
        self.first = first
        self.sent_us = sent_us
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
        self._inputs, self._query = _inputs(input)
        self._pool: Pool | None = None
        self._parts: list[_Part] = []
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
        pool = self._pool or await self._introduced()
        self._submit(pool)
        while self._failure is None and not self._over:
            await self._woken()
            self._submit(pool)
        if self._failure is not None:
            raise self._failure
        self._told = True
        results = [part.embedded for part in self._parts if part.embedded is not None]
        vectors = Vectors(
            values=b"".join(each.values for each in results),
            width=results[0].width,
        )
        return (vectors, self._finish("stop"))

    async def aclose(self) -> tuple[Finished, ...]:
        """Cancel what is still running, and wait for the worker's counts."""
        self._cancel()
        while not self._over:
            await self._woken()
        return () if self._told else (self._finish("cancelled"),)

    async def _introduced(self) -> Pool:
        pool = self._fleet.pool(self._job.release)
        await pool.introduced(self._job.queue_us / 1e6)
        self._pool = pool
        return pool

    def _submit(self, pool: Pool) -> None:
        """Send the next parts while workers have fewer than AT_ONCE.

        When a part has ended the job has begun, so that the further ones have its whole time.
        """
        job = self._job
        while self._failure is None and len(self._parts) * PART < len(self._inputs):
            over = sum(part.over for part in self._parts)
            if len(self._parts) - over >= AT_ONCE:
                return
            first = len(self._parts) * PART
            part = _Part(self, first, self._now_us())
            waited_us = 0 if over else part.sent_us - job.arrived_us
            embed = translation.embed(
                job,
                self._input,
                self._inputs[first : first + PART],
                self._query,
                queue_us=max(1, job.queue_us - waited_us),
                request=self._parts[0].id if self._parts else 0,
            )
            self._parts.append(part)
            part.id = pool.submit(embed, part)

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
            queue_us=self._queue_us(),
            busy_us=sum(part.busy_us for part in parts),
            instance=next((part.instance for part in parts if part.instance), ""),
        )

    def _queue_us(self) -> int:
        """The wait until the first computation; 0 without any."""
        begun = [part.sent_us + part.queue_us for part in self._parts if part.computed_tokens]
        return max(0, min(begun) - self._job.arrived_us) if begun else 0

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
