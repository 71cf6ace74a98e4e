"""Jobs: long work that runs step by step in a process of its own and survives a crash.

A job keeps what it was asked (`arguments`), how far it is (its steps with their results, the
progress of the current one) and the last lines of its log. The functions here change rows; they
start no process and decide nothing. Written by `engine.control` (add, cancel, retry), the node
(start, requeue) and the job's own process; read by everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, intents, ledger, moves

CLAIMER: Final = "jobs"
"""Who an intent is claimed by while a job carries it out."""
LOG_LINES: Final = 500
"""The newest lines of a job's log that are kept."""
_LINE: Final = 2000


class State(StrEnum):
    """Where a job is in its life.

    QUEUED: control created the job, or a failed attempt, a stopped node or `jobs retry` put it
        back. The node starts it once a slot is free and `not_before_us` has passed. A crash
        leaves it here.
    RUNNING: the node claimed it and starts its process; `attempt` says for which time. If the
        process dies, the node counts a failure and queues the job again, or fails it once
        `max_failures` is reached; if the node dies, its next start queues the job without
        counting. The next attempt resumes at the first step without a result.
    CANCELLING: control was asked to cancel a running job. Its process undoes what is half done
        and ends as cancelled; if it dies first, the node cancels the job.
    SUCCEEDED: the process recorded its last step and this state in one transaction. Final.
    FAILED: a step refused, or failed too often; `reason` says why. Only a retry leads on.
    CANCELLED: it was cancelled; `reason` says by whom. Only a retry leads on.
    """

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN: Final = frozenset({State.QUEUED, State.RUNNING, State.CANCELLING})
HELD: Final = frozenset({State.RUNNING, State.CANCELLING})
"""The states in which a process works, or did until it died."""

MOVES: Final = moves.Table(
    noun="job",
    column="state",
    begins=frozenset({State.QUEUED}),
    legal={
        State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
        State.RUNNING: frozenset({State.QUEUED, State.CANCELLING, State.SUCCEEDED, State.FAILED}),
        State.CANCELLING: frozenset({State.CANCELLED}),
        State.SUCCEEDED: frozenset(),
        State.FAILED: frozenset({State.QUEUED}),
        State.CANCELLED: frozenset({State.QUEUED}),
    },
)


class JobRow(SQLModel, table=True):
    """A job as it is kept; its arguments are JSON."""

    __tablename__: ClassVar[str] = "jobs"

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    target: str
    arguments: str
    actor: str
    intent_id: int | None
    state: str
    attempt: int
    failures: int
    max_failures: int
    not_before_us: int
    pid: int | None
    heartbeat_at_us: int | None
    step: str | None
    done: int | None
    total: int | None
    unit: str | None
    rate_per_s: int | None
    reason: str | None
    created_at_us: int
    started_at_us: int | None
    ended_at_us: int | None


class JobStepRow(SQLModel, table=True):
    """A step as it is kept; its result is JSON."""

    __tablename__: ClassVar[str] = "job_steps"

    job_id: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    position: int
    result: str | None
    started_at_us: int | None
    ended_at_us: int | None


class JobLineRow(SQLModel, table=True):
    """A line of a job's log as it is kept."""

    __tablename__: ClassVar[str] = "job_lines"

    id: int | None = Field(default=None, primary_key=True)
    job_id: int
    at_us: int
    text: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a step is done, in `unit`s; `total` is None while it is unknown.

    `rate_per_s` is measured over the last seconds, None until it can be told.
    """

    done: int
    total: int | None = None
    unit: str = ""
    rate_per_s: int | None = None

    @property
    def share(self) -> float | None:
        """The part that is done, from 0 to 1."""
        return None if not self.total else min(1.0, self.done / self.total)

    @property
    def eta_us(self) -> int | None:
        """Microseconds to the end at the measured rate."""
        if self.total is None or not self.rate_per_s:
            return None
        return max(0, self.total - self.done) * 1_000_000 // self.rate_per_s


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `attempt` counts its starts, `failures` those that failed in a row.

    `intent_id` is the intent that asked for it and ends with it; `step` is the step that runs or
    ran last, `progress` how far that is, `reason` the sentence that goes with the state.
    """

    id: int
    kind: str
    target: str
    arguments: dict[str, Any]
    actor: str
    intent_id: int | None
    state: State
    attempt: int
    failures: int
    max_failures: int
    not_before_us: int
    pid: int | None
    heartbeat_at_us: int | None
    step: str | None
    progress: Progress | None
    reason: str | None
    created_at_us: int
    started_at_us: int | None
    ended_at_us: int | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a job; once it has ended, `result` is what it returned."""

    job_id: int
    name: str
    position: int
    result: Any
    started_at_us: int | None
    ended_at_us: int | None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's log; `id` grows from line to line."""

    id: int
    at_us: int
    text: str


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
    job = _job(row)
    await ledger.write(
        s, actor=actor, verb="jobs.add", noun="job", key=str(job.id), before=None,
        after={"kind": kind, "target": target}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return job


async def start(s: AsyncSession, id: int, *, at_us: int) -> Job:
    """Claim a queued job for a new attempt, before its process is started.

    Raises:
        Moved: it is not queued any more.
    """
    job = await find(s, id)
    await _move(
        s, job, State.QUEUED, State.RUNNING, actor="node", at_us=at_us,
        attempt=job.attempt + 1, started_at_us=job.started_at_us or at_us, pid=None,
        heartbeat_at_us=at_us,
    )  # fmt: skip
    return await find(s, id)


async def take(s: AsyncSession, id: int, *, pid: int, steps: Sequence[str], at_us: int) -> Job:
    """Make this process the one that carries out the job's attempt, with these steps.

    Raises:
        Moved: the job is in no attempt, or another process has it.
    """
    job = await find(s, id)
    if job.state not in HELD or job.pid not in {None, pid}:
        raise errors.Moved(f"Job {id} is {job.state}, process {job.pid}; it is not for {pid}.")
    await _change(s, id, pid=pid, heartbeat_at_us=at_us)
    for position, name in enumerate(steps, 1):
        await _step(s, id, name, position=position)
    return await find(s, id)


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
    await _change(s, id, heartbeat_at_us=at_us, **_columns(progress))
    return job.state


async def begin_step(s: AsyncSession, id: int, attempt: int, name: str, *, at_us: int) -> None:
    """Record that the attempt works on a step now.

    Raises:
        Moved: another attempt holds the job, or none.
    """
    await held(s, id, attempt)
    await _step(s, id, name, started_at_us=at_us)
    await _change(s, id, step=name, **_columns(None))


async def end_step(
    s: AsyncSession, id: int, attempt: int, name: str, result: object, *, at_us: int
) -> None:
    """Record a step's result, in the transaction of what the step did to the store.

    A step that ends forgives earlier failures.

    Raises:
        Moved: another attempt holds the job, or none, or it is being cancelled.
    """
    await _held(s, id, attempt, State.RUNNING)
    encoded = msgspec.json.encode(result).decode()
    await _step(s, id, name, result=encoded, ended_at_us=at_us)
    await _change(s, id, failures=0)


async def succeed(s: AsyncSession, id: int, attempt: int, outcome: str, *, at_us: int) -> None:
    """End a job well, and its intent as applied, in the transaction of its last step.

    Raises:
        Moved: another attempt holds the job, or it is being cancelled.
    """
    job = await _held(s, id, attempt, State.RUNNING)
    await _end(
        s, job, State.SUCCEEDED, outcome,
        actor=CLAIMER, intent_state=intents.State.APPLIED, at_us=at_us,
    )  # fmt: skip


async def fail(
    s: AsyncSession, id: int, attempt: int, reason: str, *, at_us: int, refused: bool = False
) -> None:
    """End a job that cannot be done; its intent was `refused`, or failed.

    Raises:
        Moved: another attempt holds the job, or it is being cancelled.
    """
    job = await _held(s, id, attempt, State.RUNNING)
    state = intents.State.REFUSED if refused else intents.State.FAILED
    await _end(s, job, State.FAILED, reason, actor=CLAIMER, intent_state=state, at_us=at_us)


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
    job = await _held(s, id, attempt, State.RUNNING)
    await _move(
        s, job, State.RUNNING, State.QUEUED, actor=CLAIMER, verb="requeued", at_us=at_us,
        reason=reason, failures=failures, not_before_us=not_before_us, pid=None, rate_per_s=None,
    )  # fmt: skip


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
        await _end(
            s, job, State.CANCELLED, said, actor=actor, intent_state=intents.State.REFUSED,
            at_us=at_us, caused_by=intent_id,
        )  # fmt: skip
    elif job.state is State.RUNNING:
        await _move(
            s, job, State.RUNNING, State.CANCELLING, actor=actor, at_us=at_us,
            caused_by=intent_id, reason=said,
        )  # fmt: skip
    else:
        raise errors.Moved(f"Job {id} is {job.state}; there is nothing to cancel.")
    return await find(s, id)


async def cancelled(s: AsyncSession, id: int, attempt: int, *, at_us: int) -> None:
    """End a job that was being cancelled, once nothing of it is half done.

    Raises:
        Moved: another attempt holds the job, or it is not being cancelled.
    """
    job = await _held(s, id, attempt, State.CANCELLING)
    await _end(
        s, job, State.CANCELLED, job.reason or "Cancelled.",
        actor=CLAIMER, intent_state=intents.State.REFUSED, at_us=at_us,
    )  # fmt: skip


async def retry(
    s: AsyncSession, id: int, *, actor: str, at_us: int, intent_id: int | None = None
) -> Job:
    """Queue a failed or cancelled job again, from its first step: its files are gone.

    Raises:
        Moved: it has not failed and was not cancelled.
    """
    job = await find(s, id)
    if job.state not in {State.FAILED, State.CANCELLED}:
        raise errors.Moved(f"Job {id} is {job.state}; only failed and cancelled jobs are retried.")
    await _move(
        s, job, job.state, State.QUEUED, actor=actor, verb="jobs.retry", at_us=at_us,
        caused_by=intent_id, reason=f"Retried by {actor}.", failures=0,
        not_before_us=at_us, ended_at_us=None, step=None, **_columns(None),
    )  # fmt: skip
    for step in await steps(s, id):
        await _step(s, id, step.name, result=None, started_at_us=None, ended_at_us=None)
    return await find(s, id)


async def held(s: AsyncSession, id: int, attempt: int) -> Job:
    """The job, while this attempt holds it; running or cancelling.

    Raises:
        Moved: another attempt holds it, or none.
    """
    job = await find(s, id)
    if job.state not in HELD or job.attempt != attempt:
        raise errors.Moved(
            f"Job {id} is {job.state} in attempt {job.attempt}; attempt {attempt} has lost it."
        )
    return job


async def write_lines(
    s: AsyncSession, id: int, lines: Sequence[tuple[int, str]], *, keep: int = LOG_LINES
) -> None:
    """Add (at_us, text) lines to a job's log, and drop all but the newest `keep`."""
    for at_us, text in lines:
        s.add(JobLineRow(job_id=id, at_us=at_us, text=text[:_LINE]))
    await s.flush()
    oldest = select(col(JobLineRow.id)).where(col(JobLineRow.job_id) == id)
    oldest = oldest.order_by(col(JobLineRow.id).desc()).offset(keep)
    await s.execute(
        delete(JobLineRow)
        .where(col(JobLineRow.id).in_(oldest))
        .execution_options(synchronize_session=False)
    )


async def find(s: AsyncSession, id: int) -> Job:
    """By its id.

    Raises:
        NotFound: there is no such job; the message lists the newest.
    """
    row = await s.get(JobRow, id, populate_existing=True)
    if row is None:
        raise errors.unknown("job", id, [str(job.id) for job in await tail(s, 12)])
    return _job(row)


async def of_intent(s: AsyncSession, intent_id: int) -> Job | None:
    """The job that carries out an intent, if one does."""
    query = select(JobRow).where(col(JobRow.intent_id) == intent_id)
    row = (await s.scalars(query.execution_options(populate_existing=True))).first()
    return None if row is None else _job(row)


async def tail(s: AsyncSession, limit: int = 100) -> list[Job]:
    """The newest jobs, newest first."""
    query = select(JobRow).order_by(col(JobRow.id).desc()).limit(limit)
    rows = await s.scalars(query.execution_options(populate_existing=True))
    return [_job(row) for row in rows]


async def unfinished(s: AsyncSession, states: Collection[State] = OPEN) -> list[Job]:
    """The jobs that have not ended, oldest first."""
    query = select(JobRow).where(col(JobRow.ended_at_us).is_(None))
    query = query.where(col(JobRow.state).in_([state.value for state in states]))
    query = query.order_by(col(JobRow.id)).execution_options(populate_existing=True)
    return [_job(row) for row in await s.scalars(query)]


async def steps(s: AsyncSession, id: int) -> list[Step]:
    """The steps of a job, in their order."""
    query = select(JobStepRow).where(col(JobStepRow.job_id) == id)
    query = query.order_by(col(JobStepRow.position)).execution_options(populate_existing=True)
    return [
        Step(
            job_id=row.job_id,
            name=row.name,
            position=row.position,
            result=None if row.result is None else msgspec.json.decode(row.result),
            started_at_us=row.started_at_us,
            ended_at_us=row.ended_at_us,
        )
        for row in await s.scalars(query)
    ]


async def lines(s: AsyncSession, id: int, after: int = 0, limit: int = LOG_LINES) -> list[Line]:
    """The newest lines of a job's log whose id is above `after`, oldest first."""
    query = select(JobLineRow).where(col(JobLineRow.job_id) == id, col(JobLineRow.id) > after)
    rows = await s.scalars(query.order_by(col(JobLineRow.id).desc()).limit(limit))
    return [Line(id=row.id or 0, at_us=row.at_us, text=row.text) for row in rows][::-1]


async def _held(s: AsyncSession, id: int, attempt: int, state: State) -> Job:
    """The job, while this attempt holds it in this state."""
    job = await held(s, id, attempt)
    if job.state is not state:
        raise errors.Moved(f"Job {id} is {job.state}, not {state}.")
    return job


async def _end(
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
    await _move(
        s, job, job.state, state, actor=actor, at_us=at_us, caused_by=caused_by,
        reason=reason, ended_at_us=at_us, pid=None, rate_per_s=None,
    )  # fmt: skip
    if job.intent_id is None:
        return
    intent = await intents.find(s, job.intent_id)
    if intent.state is intents.State.CLAIMED and intent.claimed_by == CLAIMER:
        await intents.end(s, job.intent_id, intent_state, reason, at_us, by=CLAIMER)


async def _move(
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
    await moves.move(
        s, MOVES, JobRow, job.id, frm, to, actor=actor, at_us=at_us, verb=verb,
        intent_id=job.intent_id if caused_by is None else caused_by, changes=changes,
    )  # fmt: skip


async def _change(s: AsyncSession, id: int, **columns: object) -> None:
    """Set columns that are no state."""
    await s.execute(
        update(JobRow)
        .where(col(JobRow.id) == id)
        .values(**columns)
        .execution_options(synchronize_session=False)
    )


async def _step(s: AsyncSession, id: int, name: str, **columns: object) -> None:
    """Set columns of a step, which is added if it is not there."""
    row = await s.get(JobStepRow, (id, name), populate_existing=True)
    if row is None:
        row = JobStepRow(
            job_id=id,
            name=name,
            position=0,
            result=None,
            started_at_us=None,
            ended_at_us=None,
        )
        s.add(row)
    for column, value in columns.items():
        setattr(row, column, value)
    await s.flush()


def _columns(progress: Progress | None) -> dict[str, object]:
    if progress is None:
        return {"done": None, "total": None, "unit": None, "rate_per_s": None}
    return msgspec.structs.asdict(progress)


def _job(row: JobRow) -> Job:
    progress = None
    if row.done is not None:
        progress = Progress(
            done=row.done, total=row.total, unit=row.unit or "", rate_per_s=row.rate_per_s
        )
    return Job(
        id=row.id or 0,
        kind=row.kind,
        target=row.target,
        arguments=msgspec.json.decode(row.arguments, type=dict[str, Any]),
        actor=row.actor,
        intent_id=row.intent_id,
        state=State(row.state),
        attempt=row.attempt,
        failures=row.failures,
        max_failures=row.max_failures,
        not_before_us=row.not_before_us,
        pid=row.pid,
        heartbeat_at_us=row.heartbeat_at_us,
        step=row.step,
        progress=progress,
        reason=row.reason,
        created_at_us=row.created_at_us,
        started_at_us=row.started_at_us,
        ended_at_us=row.ended_at_us,
    )
