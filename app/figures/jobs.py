"""Jobs as the list and the detail show them."""

from __future__ import annotations

from app import snapshot
from storage import job_logs, job_steps, jobs
from storage.jobs import Job
from storage.past import jobs as past_jobs
from storage.store import Session

_LINES = 200


async def rows(s: Session, *, limit: int, at_us: int | None = None) -> tuple[snapshot.JobRow, ...]:
    """The newest jobs, newest first; of a past moment without how far they were."""
    found = await (jobs.tail(s, limit) if at_us is None else past_jobs.tail(s, at_us, limit))
    return tuple(map(row, found))


async def full(s: Session, id: int, at_us: int | None = None) -> snapshot.Job:
    """One job with its steps and its log, now or at a past moment.

    Raises:
        NotFound: there is no such job.
    """
    if at_us is None:
        job, steps = await jobs.find(s, id), await job_steps.of(s, id)
        lines = await job_logs.read(s, id, limit=_LINES)
    else:
        job, steps = await past_jobs.find(s, id, at_us), await past_jobs.steps_of(s, id, at_us)
        lines = await past_jobs.lines_of(s, id, at_us, _LINES)
    return snapshot.Job(
        row=row(job),
        attempt=job.attempt,
        failures=job.failures,
        max_failures=job.max_failures,
        started_at_us=job.started_at_us,
        ended_at_us=job.ended_at_us,
        steps=tuple(
            snapshot.JobStep(
                name=step.name,
                started=step.started_at_us is not None,
                took_us=(
                    None
                    if step.ended_at_us is None
                    else step.ended_at_us - (step.started_at_us or step.ended_at_us)
                ),
            )
            for step in steps
        ),
        lines=tuple((line.at_us, line.text) for line in lines),
    )


def row(job: Job) -> snapshot.JobRow:
    """One job in the list."""
    progress = job.progress
    return snapshot.JobRow(
        id=job.id,
        kind=job.kind,
        target=job.target,
        state=job.state.value,
        step=job.step or "",
        done=None if progress is None else progress.done,
        total=None if progress is None else progress.total,
        unit="" if progress is None else progress.unit,
        rate_per_s=None if progress is None else progress.rate_per_s,
        eta_us=None if progress is None else progress.eta_us,
        reason=job.reason or "",
        actor=job.actor,
        created_at_us=job.created_at_us,
    )
