"""The rows of jobs, as records, and the states that a job goes through.

Imported by `storage.jobs`, which changes them, and through it by every package.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlmodel import Field, SQLModel

from storage import moves


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
    FAILED: a step refused, or failed too often; `reason` says why. Only a retry continues it.
    CANCELLED: it was cancelled; `reason` says by whom. Only a retry continues it.
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


def columns(progress: Progress | None) -> dict[str, object]:
    """The progress as columns of a job's row."""
    if progress is None:
        return {"done": None, "total": None, "unit": None, "rate_per_s": None}
    return msgspec.structs.asdict(progress)


def record(row: JobRow) -> Job:
    """The job of its row."""
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
