"""Attempts of jobs: what the node and a job's process write while the job is carried out.

Every write names the attempt, so that a process that was presumed dead changes nothing. Imported
by `engine.jobs` and the node.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, intents, job_steps, jobs
from storage.jobs import CLAIMER, HELD, Job, Progress, State


async def start(s: AsyncSession, id: int, *, at_us: int) -> Job:
    """Claim a queued job for a new attempt, before its process is started.

    Raises:
        Moved: it is not queued any more.
    """
    job = await jobs.find(s, id)
    await jobs.move(
        s, job, State.QUEUED, State.RUNNING, actor="node", at_us=at_us,
        attempt=job.attempt + 1, started_at_us=job.started_at_us or at_us, pid=None,
        heartbeat_at_us=at_us,
    )  # fmt: skip
    return await jobs.find(s, id)


async def take(s: AsyncSession, id: int, *, pid: int, steps: Sequence[str], at_us: int) -> Job:
    """Make this process the one that carries out the job's attempt, with these steps.

    Raises:
        Moved: the job is in no attempt, or another process has it.
    """
    job = await jobs.find(s, id)
    if job.state not in HELD or job.pid not in {None, pid}:
        raise errors.Moved(f"Job {id} is {job.state}, process {job.pid}; it is not for {pid}.")
    await jobs.change(s, id, pid=pid, heartbeat_at_us=at_us)
    for position, name in enumerate(steps, 1):
        await job_steps.record(s, id, name, position=position)
    return await jobs.find(s, id)


async def beat(
    s: AsyncSession,
    id: int,
    attempt: int,
    *,
    at_us: int,
    progress: Progress | None = None,
) -> State:
    """Record that the attempt's process lives and how far it is; running or cancelling.

    Raises:
        Moved: another attempt holds the job, or none.
    """
    job = await held(s, id, attempt)
    await jobs.change(s, id, heartbeat_at_us=at_us, **jobs.columns(progress))
    return job.state


async def begin_step(s: AsyncSession, id: int, attempt: int, name: str, *, at_us: int) -> None:
    """Record that the attempt works on a step now.

    Raises:
        Moved: another attempt holds the job, or none.
    """
    await held(s, id, attempt)
    await job_steps.record(s, id, name, started_at_us=at_us)
    await jobs.change(s, id, step=name, **jobs.columns(None))


async def end_step(
    s: AsyncSession, id: int, attempt: int, name: str, result: object, *, at_us: int
) -> None:
    """Record a step's result, in the transaction of what the step did to the store.

    A step that ends forgives earlier failures.

    Raises:
        Moved: another attempt holds the job, or none, or it is being cancelled.
    """
    await running(s, id, attempt)
    encoded = msgspec.json.encode(result).decode()
    await job_steps.record(s, id, name, result=encoded, ended_at_us=at_us)
    await jobs.change(s, id, failures=0)


async def succeed(s: AsyncSession, id: int, attempt: int, outcome: str, *, at_us: int) -> None:
    """End a job well, and its intent as applied, in the transaction of its last step.

    Raises:
        Moved: another attempt holds the job, or it is being cancelled.
    """
    job = await running(s, id, attempt)
    await jobs.end(
        s, job, State.SUCCEEDED, outcome,
        actor=CLAIMER, intent_state=intents.State.APPLIED, at_us=at_us,
    )  # fmt: skip


async def fail(
    s: AsyncSession,
    id: int,
    attempt: int,
    reason: str,
    *,
    at_us: int,
    refused: bool = False,
    failures: int | None = None,
) -> None:
    """End a job that cannot be done; its intent was `refused`, or failed.

    `failures` counts those in a row, this one included, where they are the reason.

    Raises:
        Moved: another attempt holds the job, or it is being cancelled.
    """
    job = await running(s, id, attempt)
    if failures is not None:
        await jobs.change(s, id, failures=failures)
    state = intents.State.REFUSED if refused else intents.State.FAILED
    await jobs.end(s, job, State.FAILED, reason, actor=CLAIMER, intent_state=state, at_us=at_us)


async def requeue(
    s: AsyncSession,
    id: int,
    attempt: int,
    *,
    reason: str,
    failures: int,
    not_before_us: int,
    at_us: int,
) -> None:
    """Put a running job back for another attempt, which resumes it at its first open step.

    Raises:
        Moved: another attempt holds the job, or it is being cancelled.
    """
    job = await running(s, id, attempt)
    await jobs.move(
        s, job, State.RUNNING, State.QUEUED, actor=CLAIMER, verb="requeued", at_us=at_us,
        reason=reason, failures=failures, not_before_us=not_before_us, pid=None, rate_per_s=None,
    )  # fmt: skip


async def cancelled(s: AsyncSession, id: int, attempt: int, *, at_us: int) -> None:
    """End a job that was being cancelled, once nothing of it is half done.

    Raises:
        Moved: another attempt holds the job, or it is not being cancelled.
    """
    job = await _held(s, id, attempt, State.CANCELLING)
    await jobs.end(
        s, job, State.CANCELLED, job.reason or "Cancelled.",
        actor=CLAIMER, intent_state=intents.State.REFUSED, at_us=at_us,
    )  # fmt: skip


async def held(s: AsyncSession, id: int, attempt: int) -> Job:
    """The job, while this attempt holds it; running or cancelling.

    Raises:
        Moved: another attempt holds it, or none.
    """
    job = await jobs.find(s, id)
    if job.state not in HELD or job.attempt != attempt:
        raise errors.Moved(
            f"Job {id} is {job.state} in attempt {job.attempt}; attempt {attempt} has lost it."
        )
    return job


async def running(s: AsyncSession, id: int, attempt: int) -> Job:
    """The job, while this attempt holds it and it is not being cancelled.

    Raises:
        Moved: another attempt holds it, or none, or it is being cancelled.
    """
    return await _held(s, id, attempt, State.RUNNING)


async def _held(s: AsyncSession, id: int, attempt: int, state: State) -> Job:
    """The job, while this attempt holds it in this state."""
    job = await held(s, id, attempt)
    if job.state is not state:
        raise errors.Moved(f"Job {id} is {job.state}, not {state}.")
    return job
