"""The report of a replay counts what was asked, side by side."""

from __future__ import annotations

from statistics import fmean

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.jobs import replay_report
from engine.judging import texts
from storage.deployments import Backend
from storage.replay_items import Answer, Item
from storage.requests import Outcome

_TEXTS = st.sampled_from(["yes", "no", "Restart the worker.", "restart it", "Wait, then restart."])


@st.composite
def answers(draw: st.DrawFn, release: int) -> Answer:
    """An answer, or a failure."""
    if draw(st.integers(0, 4)) == 0:
        return Answer(release=release, outcome=Outcome.FAILED, error="worker_lost")
    queue = draw(st.integers(0, 10_000))
    return Answer(
        release=release, outcome=Outcome.OK, text=draw(_TEXTS),
        finish_reason=draw(st.sampled_from(["stop", "length"])),
        completion_tokens=draw(st.integers(0, 50)), queue_us=queue,
        latency_us=queue + draw(st.integers(0, 1_000_000)),
    )  # fmt: skip


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """Items, some of which were not asked."""
    found = []
    for position in range(1, draw(st.integers(0, 12)) + 1):
        before = draw(answers(1))
        after = draw(st.none() | answers(2))
        both = after is not None and before.ok and after.ok
        found.append(
            Item(
                replay_id=1,
                position=position,
                request_id=f"req_{position}",
                release=2,
                recorded_at_us=1,
                seed=1,
                asked="{}",
                before=before,
                after=after,
                f1=texts.token_f1(before.text, after.text) if both and after else None,
                answered_at_us=None if after is None else 2,
            )
        )
    return found


@settings(deadline=None, max_examples=60)
@given(items())
def test_the_figures_are_those_of_the_items(drawn: list[Item]) -> None:
    """Counted again, one by one; what was not asked counts nowhere."""
    report = replay_report.report(drawn, Backend.LOCAL)
    asked = [(each.before, each.after, each) for each in drawn if each.after is not None]
    pairs = [(a, b, each) for a, b, each in asked if a.ok and b.ok]
    metrics = {each.name: each for each in report.metrics}
    assert report.asked == len(asked)
    assert report.same == sum(a.text == b.text for a, b, _ in pairs)
    assert set(metrics) == ({"failed"} if asked else set()) | (
        {"same text", "token F1", "answer tokens", "latency p50", "latency p95"} if pairs else set()
    )
    if asked:
        failed = metrics["failed"]
        assert round(failed.before * len(asked)) == sum(not a.ok for a, _, _ in asked)
        assert round(failed.after * len(asked)) == sum(not b.ok for _, b, _ in asked)
    if pairs:
        assert metrics["same text"].after == report.same / len(pairs)
        assert abs(metrics["token F1"].after - fmean(each.f1 or 0 for _, _, each in pairs)) < 1e-9
        tokens = metrics["answer tokens"]
        assert abs(tokens.after - fmean(max(1, b.completion_tokens) for _, b, _ in pairs)) < 1e-9
        assert all(each.n == len(pairs) for name, each in metrics.items() if name != "failed")
    assert sum(count for _, _, count in report.finishes) == sum(b.ok for _, b, _ in asked)
    assert sum(count for _, count, _ in report.failures) == sum(not a.ok for a, _, _ in asked)
    others = [each for a, b, each in pairs if a.text != b.text]
    assert {id for id, _ in report.differing} == {each.request_id for each in others}
    assert [f1 for _, f1 in report.differing] == sorted(each.f1 or 0 for each in others)
    for each in report.metrics:
        if each.low is not None and each.high is not None:
            assert each.low <= each.high


def test_waiting_in_the_queue_counts_for_neither_side() -> None:
    """A replay waits for users; its candidate is not slower for it."""

    def one(position: int) -> Item:
        before = Answer(release=1, outcome=Outcome.OK, text="a", latency_us=1_000, queue_us=0)
        after = Answer(
            release=2, outcome=Outcome.OK, text="a", latency_us=901_000, queue_us=900_000
        )
        return Item(
            replay_id=1, position=position, request_id="r", release=2, recorded_at_us=1, seed=1,
            asked="{}", before=before, after=after, f1=1.0, answered_at_us=2,
        )  # fmt: skip

    report = replay_report.report([one(n) for n in range(30)], Backend.UPSTREAM)
    metrics = {each.name: each for each in report.metrics}
    assert (metrics["latency p95"].before, metrics["latency p95"].after) == (1_000, 1_000)
    assert metrics["latency p95"].effect == 0
    assert replay_report.NOT_REPRODUCIBLE in report.notes


def test_a_change_of_the_same_release_is_said_where_its_engine_is_reproducible() -> None:
    """The same release and seed should give the same text."""
    before = Answer(release=2, outcome=Outcome.OK, text="a b", latency_us=1)
    item = Item(
        replay_id=1, position=1, request_id="r", release=2, recorded_at_us=1, seed=1, asked="{}",
        before=before, after=Answer(release=2, outcome=Outcome.OK, text="a c", latency_us=1),
        f1=0.5, answered_at_us=2,
    )  # fmt: skip
    notes = replay_report.report([item], Backend.LOCAL).notes
    assert f"This answer {replay_report.OTHERWISE}" in notes


@given(items())
def test_one_request_is_said_in_a_sentence(drawn: list[Item]) -> None:
    """The same, another, a failure on either side, or not asked."""
    for item in drawn:
        said = replay_report.single([item], Backend.LOCAL).sentence
        if item.after is None:
            assert "was not replayed" in said
        elif not item.after.ok:
            assert said == "r2 does not answer: worker_lost."
        elif not item.before.ok:
            assert said == "r2 answers; the recorded request failed (worker_lost)."
        else:
            same = item.before.text == item.after.text
            assert said == (
                "r2 gives the recorded answer."
                if same
                else "r2 gives another answer than the recorded one."
            )
