"""Runs jobs: on the backend of their release, recorded whoever asked.

The gateway's endpoints, its internal socket, and later shadow copies come here and nowhere else.
Never plans a job, never formats an answer. Imported by `engine.gateway`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Self

from engine.backends.protocol import Backend, Run
from engine.execution import failures, record
from engine.execution.answers import Answer
from engine.execution.job import Event, Job, Score, Scored
from storage.releases import Release
from storage.requests import Request
from storage.texts import Text

Record = Callable[[Request, Text | None], None]
"""Takes each request once, when it has ended."""
Gaps = Callable[[str, int], list[int]]
"""Where the microseconds between tokens of a service's release are collected."""


class Executor:
    """One per gateway; `backends` by the value of `release.backend`."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        record: Record,
        gaps: Gaps,
        now_us: Callable[[], int],
    ) -> None:
        """`now_us` is monotonic."""
        self._backends = backends
        self._record = record
        self._gaps = gaps
        self.now_us = now_us
        self._closing: set[asyncio.Task[None]] = set()

    def run(self, job: Job) -> Execution:
        """Start a job; use the result in `async with` and iterate over it.

        Raises:
            failures.Broken: no backend answers for the release; that is recorded.
        """
        try:
            run = self.backend(job.release).run(job)
        except failures.Failure as failure:
            self.refuse(job, failure)
            raise
        answer = Answer(job, self._gaps(job.service, job.release.number))
        return Execution(self, job, run, answer)

    def refuse(self, job: Job, failure: failures.Failure) -> None:
        """Record a job that cannot be started."""
        request = record.refused(job, failure, self.now_us())
        self._record(request, record.text(job, ""))

    async def score(self, score: Score) -> Scored:
        """The log-probabilities of a continuation; they are not recorded as a request.

        Raises:
            failures.Failure: the backend cannot score, or not now.
        """
        return await self.backend(score.release).score(score)

    def backend(self, release: Release) -> Backend:
        """What answers for a release.

        Raises:
            failures.Broken: nothing does.
        """
        try:
            return self._backends[release.backend]
        except KeyError:
            raise failures.Broken(
                f"release {release.name} needs a backend {release.backend!r}, which this version "
                "does not have",
                code="backend_unknown",
            ) from None

    def unready(self, release: Release) -> str | None:
        """Why a release cannot produce tokens now, as a clause; None when it can."""
        try:
            return self.backend(release).unready(release)
        except failures.Broken as failure:
            return failure.message

    async def drain(self) -> None:
        """Wait until all that was cancelled is recorded; the backends have been closed before."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    def ended(self, request: Request, text: Text | None) -> None:
        """Record a request that has ended."""
        self._record(request, text)

    def close_later(self, closing: asyncio.Task[None]) -> None:
        """Keep a task that records what was cut short."""
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


class Execution:
    """One job under way: an iterator over batches of events.

    It is recorded once: when every choice has ended, when it failed, or when whoever asked left the
    `async with` or called `cancel` before that. `answer` is what came so far.
    """

    def __init__(self, executor: Executor, job: Job, run: Run, answer: Answer) -> None:
        self._executor = executor
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.Task[object] | None = None
        self._over = False
        self._now_us = executor.now_us
        self.job = job
        self.answer = answer
        self.cancelled = False

    async def __aenter__(self) -> Self:
        """Nothing is computed before the first batch is asked for."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give up what is still under way."""
        self.cancel()

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> tuple[Event, ...]:
        """The events since the last batch.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        if self._over:
            raise StopAsyncIteration
        self._reader = asyncio.current_task(self._loop)
        try:
            events = await self._run.__anext__()
        except asyncio.CancelledError:
            reader, asked = self._reader, self.cancelled
            self.cancelled = True
            self._close(None)
            if not asked or reader is None:
                raise
            reader.uncancel()
            raise StopAsyncIteration from None
        except StopAsyncIteration:
            failure = failures.Broken("the backend ended early", code="engine_error")
            self._close(failure)
            raise failure from None
        except failures.Failure as failure:
            self._close(failure)
            raise
        except Exception as error:
            self._close(failures.Broken(str(error), code="internal"))
            raise
        finally:
            self._reader = None
        self.answer.add(events)
        if self.answer.complete:
            self._close(None)
        return events

    def cancel(self) -> None:
        """Give the job up; a reader that waits for its next batch is told that it is over."""
        if self._over or self.cancelled:
            return
        self.cancelled = True
        if self._reader is None:
            self._close(None)
        else:
            self._reader.cancel()

    async def whole(self) -> Answer:
        """The answer, when it has come to its end.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        async for _ in self:
            pass
        return self.answer

    def _close(self, failure: failures.Failure | None) -> None:
        """It is over; its record waits for the counts of what is cut short."""
        self._over = True
        ended_us = self._now_us()
        if self.answer.complete:
            self._note(failure, ended_us)
        closing = asyncio.create_task(self._settle(failure, ended_us), name=self.job.id)
        self._executor.close_later(closing)

    async def _settle(self, failure: failures.Failure | None, ended_us: int) -> None:
        noted = self.answer.complete
        for finish in await self._run.aclose() or ():
            self.answer.end(finish)
        if not noted:
            self._note(failure, ended_us)

    def _note(self, failure: failures.Failure | None, ended_us: int) -> None:
        job, answer = self.job, self.answer
        request = record.ended(job, answer, failure, cancelled=self.cancelled, ended_us=ended_us)
        self._executor.ended(request, record.text(job, answer.text))
