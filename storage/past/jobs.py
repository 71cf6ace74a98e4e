"""Jobs as they were at a past moment, by the ledger; how far each was is not recorded.

Jobs that ended are deleted after `jobs_days`. Imported by `app`.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, job_logs, job_rows, job_steps, jobs
from storage.job_logs import Line
from storage.job_rows import JobRow
from storage.job_steps import Step
from storage.jobs import Job, State
from storage.ledger import Entry
from storage.past import entries


async def tail(s: AsyncSession, at_us: int, limit: int = 100) -> list[Job]:
    """The newest jobs up to a moment, newest first."""
    query = select(JobRow).where(col(JobRow.created_at_us) <= at_us)
    rows = await s.scalars(query.order_by(col(JobRow.id).desc()).limit(limit))
    return await _then(s, [job_rows.record(row) for row in rows], at_us)


async def find(s: AsyncSession, id: int, at_us: int) -> Job:
    """One job.

    Raises:
        NotFound: there is no such job, or there was none yet.
    """
    known = await jobs.find(s, id)
    if known.created_at_us > at_us:
        raise errors.NotFound(f"Job {id} had not been created then.")
    return (await _then(s, [known], at_us))[0]


async def steps_of(s: AsyncSession, id: int, at_us: int) -> list[Step]:
    """The steps of a job, in their order; those that a retry began again later were not begun."""
    found = []
    for each in await job_steps.of(s, id):
        begun = each.started_at_us is not None and each.started_at_us <= at_us
        ended = each.ended_at_us is not None and each.ended_at_us <= at_us
        found.append(
            msgspec.structs.replace(
                each,
                result=each.result if ended else None,
                started_at_us=each.started_at_us if begun else None,
                ended_at_us=each.ended_at_us if ended else None,
            )
        )
    return found


async def lines_of(s: AsyncSession, id: int, at_us: int, limit: int = job_logs.LINES) -> list[Line]:
    """The newest lines of a job's log up to a moment that are kept, oldest first."""
    return [each for each in await job_logs.read(s, id) if each.at_us <= at_us][-limit:]


async def _then(s: AsyncSession, known: list[Job], at_us: int) -> list[Job]:
    keys = [str(job.id) for job in known if job.ended_at_us is None or job.ended_at_us > at_us]
    moved = {int(e.key): e for e in await entries.last(s, "job", at_us, keys=keys)}
    open_ = {int(key) for key in keys}
    return [_job(job, moved.get(job.id)) if job.id in open_ else job for job in known]


def _job(job: Job, moved: Entry | None) -> Job:
    known = moved is not None and isinstance(moved.after, str)  # else it was added only
    state = State(moved.after) if moved is not None and known else State.QUEUED
    over = state not in jobs.OPEN
    return msgspec.structs.replace(
        job,
        state=state,
        pid=None,
        heartbeat_at_us=None,
        step=None,
        progress=None,
        reason=None if moved is None else moved.reason or None,
        started_at_us=moved.at_us if moved is not None and state is State.RUNNING else None,
        ended_at_us=moved.at_us if moved is not None and over else None,
    )
