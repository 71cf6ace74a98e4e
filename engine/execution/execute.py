"""Executes jobs on the backend of their release and records them.

The gateway's endpoints, its internal socket and shadow copies all execute jobs here.
Never plans a job, never formats an answer. Imported by `engine.gateway`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Self

from engine.backends.protocol import Backend, Run, Tokeniser
from engine.execution import answering, failures, record
from engine.execution.answering import Answering
from engine.execution.answers import Answer
from engine.execution.job import Event, Job, Score, Scored
from storage.releases import Release
from storage.requests import Outcome, Request
from storage.texts import Text

Record = Callable[[Request, Text | None], None]
"""Takes each request once, when it has ended."""
Begun = Callable[[Request], None]
"""Takes each request that a backend has begun, as it is recorded if its end is never known."""
Gaps = Callable[[str, int], list[int]]
"""The list that collects the microseconds between tokens of a service's release."""


class Executor:
    """One per gateway; `backends` by the value of `release.backend`."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        record: Record,
        begun: Begun = lambda _: None,
        gaps: Gaps,
        now_us: Callable[[], int],
    ) -> None:
        """`now_us` is monotonic."""
        self.answering = Answering()
        self._backends = backends
        self._record = record
        self._begun = begun
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
        self._begun(record.begun(job))
        answer = Answer(job, self._gaps(job.service, job.release.number))
        return Execution(self, job, run, answer)

    def refuse(self, job: Job, failure: failures.Failure) -> None:
        """Record a job that could not be started."""
        request = record.refused(job, failure, self.now_us())
        self.ended(job, request, record.text(job, "", failure), failure)

    async def score(self, score: Score) -> Scored:
        """The log-probabilities of a continuation; they are not recorded as a request.

        Raises:
            failures.Failure: the backend cannot score, or not now.
        """
        return await self.backend(score.release).score(score)

    def tokeniser(self, release: Release) -> Tokeniser:
        """The tokeniser of a release.

        Raises:
            failures.Invalid: its backend leaves that to a server. failures.Broken: it has none.
        """
        backend = self.backend(release)
        if not isinstance(backend, Tokeniser):
            raise failures.Invalid(
                f"release {release.name} is answered by a server of its own, which tokenises; ask "
                "that one",
                code="tokenising_unsupported",
            )
        return backend

    def backend(self, release: Release) -> Backend:
        """The backend of a release.

        Raises:
            failures.Broken: this version has none for it.
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
        """Wait until cancelled jobs are recorded; close the backends first."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    def ended(
        self, job: Job, request: Request, text: Text | None, failure: failures.Failure | None
    ) -> None:
        """Record a job that has ended, and what that says about its release and instance."""
        instance = () if request.worker == job.release.deployment else (request.worker,)
        subjects = (job.release.number, *instance)
        if request.outcome is Outcome.OK:
            self.answering.succeeded(*subjects)
        elif request.outcome is Outcome.FAILED and failure is not None:
            error = answering.evidence(failure)
            if error is not None:
                now = self.now_us()
                self.answering.failed(error, now - request.latency_us, now, *subjects)
        self._record(request, text)

    def close_later(self, closing: asyncio.Task[None]) -> None:
        """Keep a reference to a task that records a cancelled job."""
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


class Execution:
    """One job under way: an iterator over batches of events.

    It is recorded once: when every choice has ended, when it fails, or when the caller leaves the
    `async with` or calls `cancel` before. `answer` is the answer so far, `request` what was
    recorded, None until then.
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
        self.request: Request | None = None

    async def __aenter__(self) -> Self:
        """Nothing is computed before the first batch is asked for."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel what is still running."""
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
        """Cancel the job; a reader that waits for the next batch gets StopAsyncIteration."""
        if self._over or self.cancelled:
            return
        self.cancelled = True
        if self._reader is None:
            self._close(None)
        else:
            self._reader.cancel()

    async def whole(self) -> Answer:
        """The complete answer.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        async for _ in self:
            pass
        return self.answer

    def _close(self, failure: failures.Failure | None) -> None:
        """End the job; a cancelled one is recorded when the backend has counted its tokens."""
        self._over = True
        ended_us = self._now_us()
        if self.answer.complete:
            self._record(failure, ended_us)
        closing = asyncio.create_task(self._settle(failure, ended_us), name=self.job.id)
        self._executor.close_later(closing)

    async def _settle(self, failure: failures.Failure | None, ended_us: int) -> None:
        noted = self.answer.complete
        finishes = await self._run.aclose() or ()
        if not noted:  # a complete answer is recorded, and perhaps being written: it stays
            for finish in finishes:
                self.answer.end(finish)
            self._record(failure, ended_us)

    def _record(self, failure: failures.Failure | None, ended_us: int) -> None:
        job, answer = self.job, self.answer
        request = record.ended(job, answer, failure, cancelled=self.cancelled, ended_us=ended_us)
        self.request = request
        self._executor.ended(
            job, request, record.text(job, answer.text, failure, answer.turn), failure
        )
