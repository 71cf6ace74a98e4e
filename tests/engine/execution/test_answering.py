"""Whether a release answers is judged by its last requests, and by nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.execution import answering
from engine.execution.answering import KEPT_US, LEAST, TRUST_US, Answering, Record
from engine.execution.failures import Broken, Invalid, Unavailable

SECOND_US = 1_000_000
ends = st.lists(
    st.tuples(
        st.sampled_from([None, "model_fault: NaN", "engine_error: gone"]),
        st.integers(0, 5 * SECOND_US),
        st.integers(1, 30 * SECOND_US),
    ),
    max_size=30,
)
"""Error or None, how long the request took, the time since the end of the one before."""


@given(ends, st.integers(0, 2 * TRUST_US))
def test_a_verdict_needs_failures_one_after_the_other_up_to_the_last_request(
    requests: list[tuple[str | None, int, int]], since_us: int
) -> None:
    """Counted naively: from the last answer on, each trial begins after the one before ended."""
    record, now, history = Record(), 0, list[tuple[str | None, int, int]]()
    for error, took_us, later_us in requests:
        now += later_us
        record = answering.after(record, error, now - took_us, now)
        history.append((error, now - took_us, now))
    failed: list[tuple[str | None, int, int]] = []
    for end in reversed(history):
        if end[0] is None:
            break
        failed.insert(0, end)
    trials, free_us = 0, -TRUST_US
    for _, began, ended in failed:
        if began >= free_us:
            trials, free_us = trials + 1, ended
    found = answering.decide(record, now + since_us)
    assert (found is not None) is (trials >= LEAST and since_us <= TRUST_US)
    if found is not None:
        assert (found.failed, found.since_us, found.error) == (
            len(failed), failed[0][2], failed[-1][0],
        )  # fmt: skip


def failures(record: Record, count: int, *, together: bool = False) -> Record:
    """More requests that fail, each a second long; all at once or one after the other."""
    for _ in range(count):
        now = record.last_us + (0 if together and record.failed else 2 * SECOND_US)
        record = answering.after(record, "engine_error: x", now - SECOND_US, now)
    return record


def test_one_death_that_cuts_many_answers_is_one_piece_of_evidence() -> None:
    """The worker is back in a second; nothing says that the release does not answer."""
    record = failures(Record(), 100, together=True)
    assert answering.decide(record, record.last_us) is None


def test_one_answer_ends_a_verdict() -> None:
    """Whatever came before."""
    record = failures(Record(), 50)
    assert answering.decide(record, record.last_us) is not None
    answered = answering.after(record, None, record.last_us, record.last_us + 1)
    assert answering.decide(answered, record.last_us + 1) is None


def test_without_requests_a_verdict_expires_and_the_next_failure_renews_it() -> None:
    """A balancer that takes the box out sends nothing that could end the verdict."""
    record = failures(Record(), LEAST)
    assert answering.decide(record, record.last_us + TRUST_US) is not None
    later = record.last_us + TRUST_US + 1
    assert answering.decide(record, later) is None
    record = answering.after(record, "engine_error: y", later, later + SECOND_US)
    found = answering.decide(record, later + SECOND_US)
    assert found is not None
    assert found.reason(later + SECOND_US) == (
        f"all of the last 4 requests failed, in {(later - SECOND_US) // SECOND_US} s; "
        "the last one: engine_error: y"
    )


def test_releases_and_instances_are_judged_apart() -> None:
    """One instance may fail at everything while the other answers for the release."""
    judged = Answering()
    for now in range(10):
        judged.failed("model_fault: NaN", now, now, 7, "ops:1")
        judged.succeeded(7, "ops:2")
    assert judged.verdict("ops:1", 10) is not None
    assert judged.verdict("ops:2", 10) is None
    assert judged.verdict(7, 10) is None


def test_what_a_caller_or_a_shutdown_causes_is_no_evidence() -> None:
    """Neither says how the release would answer others; one client must not take it from them."""
    for kind, code in (
        (Unavailable, "worker_gone"),
        (Unavailable, "release_unavailable"),
        (Broken, "template_failed"),
        (Broken, "prompt_failed"),
        (Broken, "answer_unreadable"),
        (Invalid, "invalid_value"),
    ):
        assert answering.evidence(kind("no", code=code, release_fault=True)) is None
    broken = Broken("x" * 999, code="template_broken")
    assert answering.evidence(broken) == "template_broken: " + "x" * 200


def test_what_has_not_failed_for_an_hour_is_forgotten() -> None:
    """Releases come and go; one that was given up because it failed never answers again."""
    judged = Answering()
    for release in range(100):
        judged.failed("x", 0, release, release, f"ops-{release}:1")
    judged.failed("x", KEPT_US, KEPT_US + 99, 100)
    assert set(judged._records) == {99, "ops-99:1", 100}
