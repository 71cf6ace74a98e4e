"""Which job starts, waits, is killed or settled: decided from what is seen, with a reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.jobs import scheduling
from engine.jobs.scheduling import Act, Decision, Plan, Reason, Running
from storage.jobs import HELD, Job, State

PLAN = Plan(concurrency=2, silence_us=100, cancel_us=10, backoff_us=8, backoff_cap_us=60)
NOW = 1_000


def job(id: int, state: State = State.QUEUED, **changes: int) -> Job:
    """A job; `changes` are its figures."""
    figures = {"attempt": 1, "failures": 0, "max_failures": 3, "not_before_us": 0, **changes}
    return Job(
        id=id, kind="k", target="t", arguments={}, actor="kim", intent_id=None, state=state,
        pid=None, heartbeat_at_us=None, step=None, progress=None, reason=None, created_at_us=0,
        started_at_us=None, ended_at_us=None, **figures,
    )  # fmt: skip


def decide(
    queue: list[Job],
    running: dict[int, Running] | None = None,
    deaths: dict[int, int] | None = None,
) -> Decision:
    """The decision at NOW, on both clocks."""
    return scheduling.decide(
        queue, running or {}, deaths or {}, now_us=NOW, monotonic_us=NOW, plan=PLAN
    )


def acts(decision: Decision) -> list[tuple[Act, int, Reason]]:
    """What is done for which job and why."""
    return [(step.act, step.job.id, step.reason) for step in decision.steps]


def test_the_oldest_jobs_that_are_due_get_the_free_slots() -> None:
    """One process runs, two slots: one more starts, and the clock is set for what is not due."""
    queue = [job(1, State.RUNNING), job(2, not_before_us=NOW + 30), job(3), job(4)]
    decision = decide(queue, {1: Running(heard_us=NOW)})
    assert acts(decision) == [(Act.START, 3, Reason.DUE)]
    assert decision.again_us == 30


def test_a_silent_process_is_killed_and_a_talking_one_is_left_alone() -> None:
    """Silence is counted from the last word on."""
    silent = decide([job(1, State.RUNNING)], {1: Running(heard_us=NOW - 100)})
    assert acts(silent) == [(Act.KILL, 1, Reason.SILENT)]
    heard = decide([job(1, State.RUNNING)], {1: Running(heard_us=NOW - 99)})
    assert (acts(heard), heard.again_us) == ([], 1)


def test_a_process_that_does_not_end_after_a_cancel_is_killed() -> None:
    """It had its time to undo what was half done."""
    running = {1: Running(heard_us=NOW, cancelled_us=NOW - 10)}
    assert acts(decide([job(1, State.CANCELLING)], running)) == [(Act.KILL, 1, Reason.STUBBORN)]
    assert acts(decide([job(1, State.CANCELLING)])) == [(Act.CANCEL, 1, Reason.CANCELLED)]


def test_a_death_counts_and_a_stopped_node_does_not() -> None:
    """Three deaths in a row end the job; the node may be restarted as often as one likes."""
    died = decide([job(1, State.RUNNING, failures=1)], deaths={1: 1}).steps[0]
    assert (died.act, died.reason, died.failures) == (Act.REQUEUE, Reason.DIED, 2)
    assert died.not_before_us == NOW + 16
    last = decide([job(1, State.RUNNING, failures=2)], deaths={1: 1}).steps[0]
    assert (last.act, last.reason) == (Act.FAIL, Reason.EXHAUSTED)
    left = decide([job(1, State.RUNNING, failures=2)]).steps[0]
    assert (left.act, left.reason, left.failures) == (Act.REQUEUE, Reason.INTERRUPTED, 2)
    older = decide([job(1, State.RUNNING, attempt=2)], deaths={1: 1}).steps[0]
    assert older.reason is Reason.INTERRUPTED


def test_the_wait_doubles_up_to_its_cap() -> None:
    """And is nothing before the first failure."""
    waits = [scheduling.backoff_us(failures, PLAN) for failures in range(6)]
    assert waits == [0, 8, 16, 32, 60, 60]
    assert scheduling.backoff_us(10_000, PLAN) == 60


@given(
    states=st.lists(st.sampled_from([State.QUEUED, *HELD]), max_size=12),
    live=st.sets(st.integers(0, 11), max_size=2),
    dead=st.sets(st.integers(0, 11)),
    due=st.lists(st.integers(NOW - 5, NOW + 5), min_size=12, max_size=12),
)
def test_every_job_is_served_or_waited_for(
    states: list[State], live: set[int], dead: set[int], due: list[int]
) -> None:
    """No more processes than slots; each job has a process, a step, a time, or waits for a slot."""
    queue = [job(id, state, not_before_us=due[id]) for id, state in enumerate(states)]
    running = {
        each.id: Running(heard_us=NOW) for each in queue if each.id in live and each.state in HELD
    }
    decision = decide(queue, running, dict.fromkeys(dead, 1))
    served = {step.job.id for step in decision.steps}
    started = [step for step in decision.steps if step.act is Act.START]
    assert len(running) + len(started) <= PLAN.concurrency
    assert len(served) == len(decision.steps)
    for each in queue:
        waits = each.state is State.QUEUED and each.not_before_us > NOW
        crowded = len(running) + len(started) == PLAN.concurrency
        assert (
            (each.id in running)
            or (each.id in served)
            or (waits and decision.again_us is not None)
            or (each.state is State.QUEUED and crowded)
        )


def test_a_temporary_failure_is_bounded_by_time() -> None:
    """The delays add up to ten minutes at most, however often the process may die."""
    plan, failures, waited_us = Plan(), 0, 0
    while (
        step := scheduling.after_temporary_failure(job(1, failures=failures), plan, NOW)
    ).act is Act.REQUEUE:
        failures, waited_us = step.failures, waited_us + step.not_before_us - NOW
    assert (step.act, step.reason, step.failures) == (Act.FAIL, Reason.EXHAUSTED, 10)
    assert 300 <= waited_us / scheduling.SECOND_US <= 600
