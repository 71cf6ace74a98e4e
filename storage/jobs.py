"""Jobs: long work that runs step by step in a process of its own and survives a crash.

A job keeps what it was asked (`arguments`), how far it is (`progress`, `job_steps`) and the newest
lines of its log (`job_logs`). Here is what people and controllers do with a job; `job_attempts`
has what its process does. Starts no process and decides nothing. Read by every package.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, intents, job_logs, job_rows, job_steps, ledger, moves
from storage.job_rows import HELD, MOVES, OPEN, Job, JobRow, Progress, State, columns

__all__ = [
    "CLAIMER", "HELD", "MOVES", "OPEN", "Job", "JobRow", "Progress", "State", "add", "cancel",
    "change",
    "columns", "end", "failed", "find", "how", "move", "of_intent", "prune", "retry", "secrets",
    "tail", "unfinished",
]  # fmt: skip

CLAIMER: Final = "jobs"
"""Who an intent is claimed by while a job carries it out."""


def how(state: State) -> str:
    """A state as a verb phrase: is running, has failed, was cancelled."""
    verb = {State.SUCCEEDED: "has", State.FAILED: "has", State.CANCELLED: "was"}.get(state, "is")
    return f"{verb} {'being cancelled' if state is State.CANCELLING else state.value}"


async def add(
    s: AsyncSession,
    *,
    kind: str,
    target: str,
    arguments: Mapping[str, Any],
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    max_failures: int = 5,
) -> Job:
    """Queue a job; its process writes down which steps it has."""
    row = JobRow(
        kind=kind,
        target=target,
        arguments=msgspec.json.encode(dict(arguments)).decode(),
        actor=actor,
        intent_id=intent_id,
        state=State.QUEUED.value,
        attempt=0,
        failures=0,
        max_failures=max_failures,
        not_before_us=at_us,
        pid=None,
        heartbeat_at_us=None,
        step=None,
        done=None,
        total=None,
        unit=None,
        rate_per_s=None,
        reason=None,
        created_at_us=at_us,
        started_at_us=None,
        ended_at_us=None,
    )
    s.add(row)
    await s.flush()
    job = job_rows.record(row)
    await ledger.write(
        s, actor=actor, verb="jobs.add", noun="job", key=str(job.id), before=None,
        after={"kind": kind, "target": target}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return job


async def cancel(
    s: AsyncSession, id: int, *, actor: str, at_us: int, intent_id: int | None = None
) -> Job:
    """Cancel a queued job at once; ask the process of a running one to undo and end.

    Raises:
        Moved: it has ended, or is being cancelled already.
    """
    job = await find(s, id)
    said = f"Cancelled by {actor}."
    if job.state is State.QUEUED:
        await end(
            s, job, State.CANCELLED, said, actor=actor, intent_state=intents.State.REFUSED,
            at_us=at_us, caused_by=intent_id,
        )  # fmt: skip
    elif job.state is State.RUNNING:
        await move(
            s, job, State.RUNNING, State.CANCELLING, actor=actor, at_us=at_us,
            caused_by=intent_id, reason=said,
        )  # fmt: skip
    else:
        raise errors.Moved(f"Job {id} {how(job.state)}; there is nothing to cancel.")
    return await find(s, id)


async def retry(
    s: AsyncSession, id: int, *, actor: str, at_us: int, intent_id: int | None = None
) -> Job:
    """Queue a failed or cancelled job again, from its first step.

    The files of a job that failed too often are kept for a day; a download resumes from them.

    Raises:
        Moved: it has not failed and was not cancelled.
    """
    job = await find(s, id)
    if job.state not in {State.FAILED, State.CANCELLED}:
        raise errors.Moved(
            f"Job {id} {how(job.state)}; only failed and cancelled jobs are retried."
        )
    await move(
        s, job, job.state, State.QUEUED, actor=actor, verb="jobs.retry", at_us=at_us,
        caused_by=intent_id, reason=f"Retried by {actor}.", failures=0,
        not_before_us=at_us, ended_at_us=None, step=None, **columns(None),
    )  # fmt: skip
    await job_steps.reset(s, id)
    return await find(s, id)


async def find(s: AsyncSession, id: int) -> Job:
    """By its id.

    Raises:
        NotFound: there is no such job; the message lists the newest.
    """
    row = await s.get(JobRow, id, populate_existing=True)
    if row is None:
        raise errors.unknown("job", id, [str(job.id) for job in await tail(s, 12)])
    return job_rows.record(row)


async def of_intent(s: AsyncSession, intent_id: int) -> Job | None:
    """The job that carries out an intent, if one does."""
    query = select(JobRow).where(col(JobRow.intent_id) == intent_id)
    row = (await s.scalars(query.execution_options(populate_existing=True))).first()
    return None if row is None else job_rows.record(row)


async def tail(s: AsyncSession, limit: int = 100) -> list[Job]:
    """The newest jobs, newest first."""
    query = select(JobRow).order_by(col(JobRow.id).desc()).limit(limit)
    rows = await s.scalars(query.execution_options(populate_existing=True))
    return [job_rows.record(row) for row in rows]


async def unfinished(s: AsyncSession, states: Collection[State] = OPEN) -> list[Job]:
    """The jobs that have not ended, oldest first."""
    query = select(JobRow).where(col(JobRow.ended_at_us).is_(None))
    query = query.where(col(JobRow.state).in_([state.value for state in states]))
    query = query.order_by(col(JobRow.id)).execution_options(populate_existing=True)
    return [job_rows.record(row) for row in await s.scalars(query)]


async def failed(s: AsyncSession, since_us: int) -> set[int]:
    """The jobs that failed since then, and may be retried."""
    query = select(col(JobRow.id)).where(col(JobRow.state) == State.FAILED.value)
    found = await s.scalars(query.where(col(JobRow.ended_at_us) >= since_us))
    return {id for id in found if id is not None}


async def secrets(s: AsyncSession) -> set[str]:
    """The references to secrets that jobs may still need: all but those that have succeeded."""
    query = select(JobRow).where(col(JobRow.state) != State.SUCCEEDED.value)
    found = [job_rows.record(row).arguments.get("secret") for row in await s.scalars(query)]
    return {secret for secret in found if isinstance(secret, str)}


async def end(
    s: AsyncSession,
    job: Job,
    state: State,
    reason: str,
    *,
    actor: str,
    intent_state: intents.State,
    at_us: int,
    caused_by: int | None = None,
) -> None:
    """Move to an end; the intent that asked ends in the same transaction, if it has not yet."""
    await move(
        s, job, job.state, state, actor=actor, at_us=at_us, caused_by=caused_by,
        reason=reason, ended_at_us=at_us, pid=None, rate_per_s=None,
    )  # fmt: skip
    if job.intent_id is None:
        return
    intent = await intents.find(s, job.intent_id)
    if intent.state is intents.State.CLAIMED and intent.claimed_by == CLAIMER:
        await intents.end(s, job.intent_id, intent_state, reason, at_us, by=CLAIMER)


async def move(
    s: AsyncSession,
    job: Job,
    frm: State,
    to: State,
    *,
    actor: str,
    at_us: int,
    verb: str | None = None,
    caused_by: int | None = None,
    **changes: object,
) -> None:
    """Move a job, with other columns changed beside, on behalf of its intent or another."""
    await moves.move(
        s, MOVES, JobRow, job.id, frm, to, actor=actor, at_us=at_us, verb=verb,
        intent_id=job.intent_id if caused_by is None else caused_by, changes=changes,
        reason=str(changes.get("reason") or ""),
    )  # fmt: skip


async def change(s: AsyncSession, id: int, **values: object) -> None:
    """Set columns other than the state."""
    await s.execute(
        update(JobRow)
        .where(col(JobRow.id) == id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


async def prune(s: AsyncSession, before_us: int, limit: int = 100) -> int:
    """Delete at most `limit` jobs that ended before a moment, with their steps and logs.

    The newest job stays, so that no number is given out twice. Returns the number of jobs; call it
    until it is 0.
    """
    newest = select(func.max(col(JobRow.id))).scalar_subquery()
    old = select(col(JobRow.id)).where(col(JobRow.ended_at_us) < before_us)
    found = await s.scalars(old.where(col(JobRow.id) < newest).limit(limit))
    ids = [id for id in found if id is not None]
    await job_logs.remove(s, ids)
    await job_steps.remove(s, ids)
    await s.execute(delete(JobRow).where(col(JobRow.id).in_(ids)))
    return len(ids)
