"""One attempt of one job: runs its steps, stores their results, and records how it ended.

Every write is guarded by the attempt's number, so that a process that was presumed dead changes
nothing. If the process is killed, the node settles the attempt. Imported by `engine.jobs.__main__`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
import structlog

from engine.jobs import kinds, reporting, scheduling, scratch
from engine.jobs.context import Context
from engine.jobs.errors import Cancelled, Refused, Transient
from engine.jobs.kinds import Step
from engine.jobs.reporting import Reporter
from engine.jobs.scheduling import Act, Plan, Reason
from storage import errors, job_attempts, job_logs, job_steps, jobs
from storage.home.paths import Home
from storage.jobs import Job, State
from storage.store import Session, Store

T = TypeVar("T")

_LONGEST_WAIT_US: Final = 3_600_000_000
"""The longest delay that a server can ask for, with Retry-After."""
_AGAIN_S: Final = 1.0

_log = structlog.get_logger("jobs")


class Attempt:
    """Runs the current attempt of a job; `stop` ends it early."""

    def __init__(
        self,
        home: Home,
        store: Store,
        id: int,
        *,
        now_us: Callable[[], int],
        monotonic_us: Callable[[], int],
        plan: Plan | None = None,
        report_s: float = reporting.REPORT_S,
    ) -> None:
        self._home = home
        self._store = store
        self._id = id
        self._now_us = now_us
        self._monotonic_us = monotonic_us
        self._plan = plan or Plan()
        self._report_s = report_s
        self._attempt = 0
        self._stopping = False
        self._cancelling = False
        self._work: asyncio.Task[None] | None = None
        self._context: Context | None = None

    def stop(self) -> None:
        """Interrupt the current step; the job is queued again and resumed later."""
        self._stopping = True
        self._interrupt()

    async def run(self) -> None:
        """Run until the job has ended, is queued again, or belongs to another attempt."""
        try:
            job, kind, context = await self._take()
        except errors.Moved as error:
            _log.warning("nothing to do", job=self._id, reason=str(error))
            return
        except Refused as refused:
            await self._end(str(refused), refused=True)
            return
        if job.state is State.CANCELLING:
            self._cancelling = True
        reporter = Reporter(
            context,
            self._attempt,
            cancel=self._on_cancel,
            lost=self._interrupt,
            monotonic_us=self._monotonic_us,
            report_s=self._report_s,
        )
        reports = asyncio.create_task(reporter.run())
        try:
            await self._walk(job, kind.steps)
        finally:
            reports.cancel()
            await asyncio.gather(reports, return_exceptions=True)

    async def _take(self) -> tuple[Job, kinds.Kind, Context]:
        async with self._store.read() as s:
            job = await jobs.find(s, self._id)
        self._attempt = job.attempt
        kind = kinds.find(job.kind)
        names = [step.name for step in kind.steps]

        async def work(s: Session) -> Job:
            return await job_attempts.take(
                s, self._id, pid=os.getpid(), steps=names, at_us=self._now_us()
            )

        job = await self._write(work)
        async with self._store.read() as s:
            done = {
                step.name: step.result
                for step in await job_steps.of(s, self._id)
                if step.ended_at_us is not None
            }
        self._attempt = job.attempt
        context = self._context = Context(
            job,
            home=self._home,
            store=self._store,
            scratch=scratch.make(self._home, self._id),
            results=done,
            now_us=self._now_us,
            monotonic_us=self._monotonic_us,
        )
        return job, kind, context

    async def _walk(self, job: Job, steps: tuple[Step, ...]) -> None:
        """Run the remaining steps as a task that can be cancelled, and settle how it ended."""
        self._work = asyncio.create_task(self._steps(steps))
        self._interrupt(only_if_asked=True)
        try:
            await self._work
        except (asyncio.CancelledError, Cancelled):
            if self._cancelling:
                await self._cancel()
            else:
                await self._requeue(Reason.INTERRUPTED.value, job.failures, self._now_us())
        except errors.Moved as error:
            if self._cancelling or await self._asked_to_cancel():
                await self._cancel()
            else:
                _log.warning("the job belongs to another attempt", job=self._id, reason=str(error))
        except Refused as refused:
            await self._end(str(refused), refused=True)
        except Transient as transient:
            await self._again(job, transient)
        except Exception as error:  # noqa: BLE001 a fault in a step ends its job
            _log.exception("a step failed", job=self._id)
            said = f"A step failed ({type(error).__name__}: {error}); logs/jobs.log has the trace."
            await self._end(said, refused=False)

    async def _steps(self, steps: tuple[Step, ...]) -> None:
        context = self._context
        assert context is not None  # noqa: S101 it was taken
        for step in steps:
            if step.name in context.results:
                continue
            context.check()
            context.begin()
            await self._write(
                lambda s, name=step.name: job_attempts.begin_step(  # type: ignore[misc]
                    s, self._id, self._attempt, name, at_us=self._now_us()
                )
            )
            made = await step.run(context)
            context.check()
            last = step is steps[-1]
            context.results[step.name] = await self._commit(step.name, made, last=last)

    async def _commit(self, name: str, made: object, *, last: bool) -> Any:
        """Store a step's result and its effect; with the last step, the end of the job."""

        async def work(s: Session) -> Any:
            await job_attempts.running(s, self._id, self._attempt)
            result = await made(s) if callable(made) else made
            await job_logs.append(s, self._id, lines)
            await job_attempts.end_step(
                s, self._id, self._attempt, name, result, at_us=self._now_us()
            )
            if last:
                await job_attempts.succeed(
                    s, self._id, self._attempt, str(result), at_us=self._now_us()
                )
            return result

        assert self._context is not None  # noqa: S101 it was taken
        lines = self._context.take_lines()
        result = await self._write(work)
        if last:  # if the process dies before this, the node removes it
            await asyncio.to_thread(scratch.remove, self._home, self._id)
        return result

    # the end

    async def _cancel(self) -> None:
        await asyncio.to_thread(scratch.remove, self._home, self._id)
        await self._settle(
            lambda s: job_attempts.cancelled(s, self._id, self._attempt, at_us=self._now_us())
        )

    async def _end(
        self, reason: str, *, refused: bool, failures: int | None = None, keep: bool = False
    ) -> None:
        """Fail the job; `keep` its working files for a retry."""

        async def work(s: Session) -> None:
            await job_attempts.fail(
                s,
                self._id,
                self._attempt,
                reason,
                at_us=self._now_us(),
                refused=refused,
                failures=failures,
            )

        self._say(reason)
        if not keep:
            await asyncio.to_thread(scratch.remove, self._home, self._id)
        await self._settle(work)

    async def _again(self, job: Job, transient: Transient) -> None:
        """Queue the job for another attempt, unless it failed too long without progress."""
        reason = str(transient)
        async with self._store.read() as s:
            job = await jobs.find(s, job.id)
        if self._context is not None and self._context.advanced:
            job = msgspec.structs.replace(job, failures=0)
        step = scheduling.after_temporary_failure(job, self._plan, self._now_us())
        if step.act is Act.FAIL:
            tries = "attempt" if step.failures == 1 else "attempts in a row"
            said = (
                f"{reason} Given up after {step.failures} {tries}; "
                f"`paddock jobs retry {job.id}` continues within a day."
            )
            await self._end(said, refused=False, failures=step.failures, keep=True)
        else:
            self._say(reason)
            asked_us = int((transient.after_s or 0) * scheduling.SECOND_US)
            not_before_us = max(
                step.not_before_us, self._now_us() + min(asked_us, _LONGEST_WAIT_US)
            )
            await self._requeue(reason, step.failures, not_before_us)

    async def _requeue(self, reason: str, failures: int, not_before_us: int) -> None:
        async def work(s: Session) -> None:
            await job_attempts.requeue(
                s,
                self._id,
                self._attempt,
                reason=reason,
                failures=failures,
                not_before_us=not_before_us,
                at_us=self._now_us(),
            )

        await self._settle(work)

    async def _settle(self, work: Callable[[Session], Awaitable[None]]) -> None:
        """Write how the attempt ended; a cancellation in the meantime takes precedence."""
        try:
            await self._write(lambda s: self._with_lines(s, work))
        except errors.Moved as error:
            if await self._asked_to_cancel():
                await self._cancel()
            else:
                _log.warning("the job belongs to another attempt", job=self._id, reason=str(error))

    async def _with_lines(self, s: Session, work: Callable[[Session], Awaitable[None]]) -> None:
        if self._context is not None:
            await job_logs.append(s, self._id, self._context.take_lines())
        await work(s)

    async def _asked_to_cancel(self) -> bool:
        return await reporting.asked_to_cancel(self._store, self._id, self._attempt)

    def _on_cancel(self) -> None:
        self._cancelling = True
        self._interrupt()

    def _interrupt(self, *, only_if_asked: bool = False) -> None:
        if only_if_asked and not (self._stopping or self._cancelling):
            return
        if self._context is not None:
            self._context.cancel()
        if self._work is not None:
            self._work.cancel()

    def _say(self, text: str) -> None:
        if self._context is not None:
            self._context.log(text)

    async def _write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Write durably; wait while the store is unavailable."""
        while True:
            try:
                return await self._store.write(work, durable=True)
            except errors.Unavailable as error:
                if self._stopping:
                    raise
                _log.warning("the job waits for the store", job=self._id, error=str(error))
                await asyncio.sleep(_AGAIN_S)
