"""Decides which jobs start, wait, are killed or settled; pure.

`decide(queue, processes, deaths, ...)` sees the unfinished jobs beside the processes that run and
returns what to do and why; `engine.node.jobs` acts on it. Wall-clock times are UTC microseconds,
silence is measured on the monotonic clock. Imported by `engine.jobs` and `engine.node`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from storage.jobs import Job, State

SECOND_US: Final = 1_000_000


class Act(StrEnum):
    """An action for one job."""

    START = "start"
    KILL = "kill"
    REQUEUE = "requeue"
    FAIL = "fail"
    CANCEL = "cancel"


class Reason(Enum):
    """Why; the value is the sentence that people read."""

    DUE = "Due, and a slot is free."
    SILENT = "Its process stopped responding and was killed."
    STUBBORN = "Its process did not end in time after the job was cancelled."
    DIED = "Its process died."
    INTERRUPTED = "The node stopped; the job is resumed."
    TEMPORARY = "A temporary failure; it is tried again."
    EXHAUSTED = "It failed too often."
    CANCELLED = "Cancelled, and its process has ended."


@dataclass(frozen=True, slots=True)
class Plan:
    """The concurrency limit, timeouts and delays. Times in microseconds."""

    concurrency: int = 2
    silence_us: int = 60 * SECOND_US
    """The longest time without a heartbeat of a job's process."""
    cancel_us: int = 5 * SECOND_US
    """From the cancellation to SIGKILL."""
    backoff_us: int = SECOND_US
    """The delay after a first failure; it doubles with each further one."""
    backoff_cap_us: int = 300 * SECOND_US
    patience_us: int = 600 * SECOND_US
    """The longest that the delays after temporary failures in a row may add up to."""


@dataclass(frozen=True, slots=True)
class Running:
    """The process of a job: its last heartbeat, and when its job was cancelled (monotonic)."""

    heard_us: int
    cancelled_us: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """An action for one job; `not_before_us` and `failures` belong to REQUEUE."""

    act: Act
    job: Job
    reason: Reason
    failures: int = 0
    not_before_us: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The actions, and the microseconds until the next decision if nothing happens before."""

    steps: tuple[Step, ...]
    again_us: int | None


def backoff_us(failures: int, plan: Plan) -> int:
    """The delay after this many failures in a row; 0 after none."""
    if failures <= 0:
        return 0
    return min(plan.backoff_cap_us, plan.backoff_us << min(failures - 1, 40))


def after_failure(job: Job, reason: Reason, plan: Plan, now_us: int) -> Step:
    """What follows one more failure: another attempt after a delay, or the end."""
    failures = job.failures + 1
    if failures >= job.max_failures:
        return Step(Act.FAIL, job, Reason.EXHAUSTED, failures)
    return Step(Act.REQUEUE, job, reason, failures, now_us + backoff_us(failures, plan))


def after_temporary_failure(job: Job, plan: Plan, now_us: int) -> Step:
    """The same after a temporary failure, such as of a network: bounded by time."""
    failures = job.failures + 1
    if sum(backoff_us(each, plan) for each in range(failures + 1)) > plan.patience_us:
        return Step(Act.FAIL, job, Reason.EXHAUSTED, failures)
    return Step(Act.REQUEUE, job, Reason.TEMPORARY, failures, now_us + backoff_us(failures, plan))


def decide(
    queue: Sequence[Job],
    processes: Mapping[int, Running],
    deaths: Mapping[int, int],
    *,
    now_us: int,
    monotonic_us: int,
    plan: Plan,
) -> Decision:
    """What to do for the unfinished jobs, which are given oldest first.

    `deaths` maps a job to the attempt whose process ended without settling it. A job in HELD
    without a process and a death is left over from a node that stopped.
    """
    steps: list[Step] = []
    waits: list[int] = []
    free = plan.concurrency - len(processes)
    for job in queue:
        if (process := processes.get(job.id)) is not None:
            step, wait = _watch(job, process, monotonic_us, plan)
            steps += [step] if step else []
            waits += [wait] if wait is not None else []
        elif job.state is not State.QUEUED:
            steps.append(_settle(job, deaths.get(job.id), plan, now_us))
        elif job.not_before_us > now_us:
            waits.append(job.not_before_us - now_us)
        elif free > 0:
            free -= 1
            steps.append(Step(Act.START, job, Reason.DUE))
    return Decision(tuple(steps), min(waits, default=None))


def _watch(
    job: Job, process: Running, monotonic_us: int, plan: Plan
) -> tuple[Step | None, int | None]:
    """Kill a process that is silent or does not exit; otherwise when to check again."""
    bounds = [(process.heard_us + plan.silence_us, Reason.SILENT)]
    if process.cancelled_us is not None:
        bounds.append((process.cancelled_us + plan.cancel_us, Reason.STUBBORN))
    at, reason = min(bounds, key=lambda bound: bound[0])
    if monotonic_us >= at:
        return Step(Act.KILL, job, reason), None
    return None, at - monotonic_us


def _settle(job: Job, died: int | None, plan: Plan, now_us: int) -> Step:
    """What follows for a job whose process ended without settling it."""
    if job.state is State.CANCELLING:
        return Step(Act.CANCEL, job, Reason.CANCELLED)
    if died == job.attempt:
        return after_failure(job, Reason.DIED, plan, now_us)
    return Step(Act.REQUEUE, job, Reason.INTERRUPTED, job.failures, now_us)
