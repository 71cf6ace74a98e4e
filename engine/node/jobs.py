"""The processes of durable jobs: started when due, watched, killed when hung, settled when dead.

Acts on the decisions of `engine.jobs.scheduling`. Never runs a step and never waits for one.
Imported by `engine.node.node`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Callable
from typing import Final

import structlog

from engine.jobs import kept_models, scheduling, scratch
from engine.jobs.scheduling import Act, Plan, Reason, Running, Step
from engine.node import endings, process_logs, specs
from engine.node.child import Child
from engine.node.specs import Spec
from storage import errors, job_attempts, jobs, models
from storage.control_socket import nudges
from storage.home.paths import Home
from storage.jobs import Job, State
from storage.store import Session, Store

LOOK_S: Final = 5.0
AGAIN_S: Final = 2.0
STOP_S: Final = 3.0
SWEEP_US: Final = 3_600_000_000

_log = structlog.get_logger("node.jobs")


class Jobs:
    """Keeps unfinished jobs running, a bounded number at a time."""

    def __init__(
        self,
        home: Home,
        store: Store,
        *,
        now_us: Callable[[], int],
        monotonic_us: Callable[[], int],
        plan: Plan | None = None,
    ) -> None:
        self._home = home
        self._store = store
        self._now_us = now_us
        self._monotonic_us = monotonic_us
        self._plan = plan or Plan()
        self._processes: dict[int, Child] = {}
        self._running: dict[int, Running] = {}
        self._deaths: dict[int, int] = {}
        self._causes: dict[int, str] = {}
        self._memory_kills = endings.MemoryKills()
        self._ended = asyncio.Event()
        self._stopping = False
        self._sweep_at_us = 0

    async def run(self) -> None:
        """Follow the queue until cancelled."""
        with nudges.listen(self._home, "jobs") as listener:
            while not self._stopping:
                try:
                    again_us = await self.follow()
                except errors.StorageError as error:
                    _log.warning("jobs wait for the store", error=str(error))
                    again_us = int(AGAIN_S * scheduling.SECOND_US)
                wait_s = LOOK_S if again_us is None else min(LOOK_S, again_us / 1e6)
                woken = {
                    asyncio.create_task(listener.wait(wait_s)),
                    asyncio.create_task(self._ended.wait()),
                }
                try:
                    await asyncio.wait(woken, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in woken:
                        task.cancel()
                self._ended.clear()

    async def follow(self) -> int | None:
        """Act once on the queue as it is now; when to look again, in microseconds from now."""
        async with self._store.read() as session:
            queue = await jobs.unfinished(session)
            retried = await jobs.failed(session, self._now_us() - scratch.KEEP_US)
        unfinished = {job.id for job in queue}
        self._deaths = {id: died for id, died in self._deaths.items() if id in unfinished}
        self._causes = {id: cause for id, cause in self._causes.items() if id in unfinished}
        now = self._monotonic_us()
        for job in queue:
            running = self._running.get(job.id)
            cancelling = job.state is State.CANCELLING
            if running is not None and cancelling and running.cancelled_us is None:
                self._running[job.id] = dataclasses.replace(running, cancelled_us=now)
        decision = scheduling.decide(
            queue,
            self._running,
            self._deaths,
            now_us=self._now_us(),
            monotonic_us=now,
            plan=self._plan,
        )
        for step in decision.steps:
            await self._act(step)
        gone = await asyncio.to_thread(scratch.sweep, self._home, unfinished | retried)
        if gone:
            _log.info("removed working files", of=gone)
        if not queue and not self._processes and now >= self._sweep_at_us:
            await self._sweep()
            self._sweep_at_us = now + SWEEP_US
        return decision.again_us

    async def _sweep(self) -> None:
        """Remove the model files that no version has referred to for a week.

        A job that crashed after it had kept its file leaves some, and so does a restore.
        """
        async with self._store.read() as session:
            referred = {
                version.sha256
                for version in await models.every(session)
                if version.status is not models.Status.REMOVED
            }
        unused = await asyncio.to_thread(
            kept_models.sweep, self._home, referred, now_s=self._now_us() / scheduling.SECOND_US
        )
        if unused:
            _log.info("removed downloaded files without a version", sha256=unused)

    async def stop(self) -> None:
        """End all processes; their jobs are queued again and resumed by the next node."""
        self._stopping = True
        for process in self._processes.values():
            process.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                while self._processes:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            for process in self._processes.values():
                process.signal(signal.SIGKILL)

    async def _act(self, step: Step) -> None:
        job = step.job
        if step.act is Act.KILL:
            _log.warning("killing a job's process", job=job.id, reason=step.reason.value)
            self._processes[job.id].signal(signal.SIGKILL)
            return
        if self._stopping:
            return
        try:
            job = await self._store.write(lambda s: self._record(s, step), durable=True)
        except errors.Moved as error:  # it was cancelled, or settled, since the queue was read
            _log.info("a job changed meanwhile", job=job.id, reason=str(error))
            return
        self._deaths.pop(job.id, None)
        _log.info("job", job=job.id, act=step.act.value, reason=step.reason.value)
        if step.act is Act.START and not self._stopping:
            self._spawn(job)

    async def _record(self, s: Session, step: Step) -> Job:
        job, at_us = step.job, self._now_us()
        match step.act:
            case Act.START:
                return await job_attempts.start(s, job.id, at_us=at_us)
            case Act.CANCEL:
                await job_attempts.cancelled(s, job.id, job.attempt, at_us=at_us)
            case Act.FAIL:
                tries = "attempt" if step.failures == 1 else "attempts in a row"
                cause = self._causes.get(job.id) or "logs/jobs.log may say why"
                said = f"Its process died, {step.failures} {tries}: {cause}."
                await job_attempts.fail(
                    s, job.id, job.attempt, said, at_us=at_us, failures=step.failures
                )
            case Act.REQUEUE:
                await job_attempts.requeue(
                    s,
                    job.id,
                    job.attempt,
                    reason=self._with_cause(step),
                    failures=step.failures,
                    not_before_us=step.not_before_us,
                    at_us=at_us,
                )
        return job

    def _with_cause(self, step: Step) -> str:
        """Why a job is queued again; if its process died, how it ended."""
        cause = self._causes.get(step.job.id) if step.reason is Reason.DIED else None
        return f"{step.reason.value.rstrip('.')}: {cause}." if cause else step.reason.value

    def _spawn(self, job: Job) -> None:
        spec = Spec(
            name=f"job-{job.id}",
            kind="job",
            command=(
                *(sys.executable, "-m", "engine.jobs"),
                *("--home", str(self._home.root), "--job", str(job.id)),
            ),
            log=self._home.log("jobs"),
        )
        begin = process_logs.end(spec.log)
        self._memory_kills.look()
        try:
            started = specs.start(spec)
        except OSError as error:
            _log.error("a job could not be started", job=job.id, error=str(error))
            self._deaths[job.id] = job.attempt
            self._ended.set()
            return
        self._running[job.id] = Running(heard_us=self._monotonic_us())
        self._processes[job.id] = Child(
            started,
            hear=lambda _: self._heard(job.id),
            ended=lambda code: self._reap(job, code, begin),
        )

    def _heard(self, id: int) -> None:
        if (running := self._running.get(id)) is not None:
            self._running[id] = dataclasses.replace(running, heard_us=self._monotonic_us())

    def _reap(self, job: Job, code: int, log_begin: int) -> None:
        del self._processes[job.id], self._running[job.id]
        self._deaths[job.id] = job.attempt
        memory = self._memory_kills.look()
        cause = endings.evidence(code, self._home.log("jobs"), log_begin, out_of_memory=memory)
        self._causes[job.id] = f"{endings.how(code)}, {cause}" if cause else endings.how(code)
        if code:
            _log.warning("a job's process ended", job=job.id, code=code)
        self._ended.set()
