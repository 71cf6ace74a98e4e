"""How replays are shown: two answers side by side, a sample's figures, a bisection's steps."""

from __future__ import annotations

from typing import Any

from app.figures import replays as figures
from storage.replay_items import Answer, Item
from storage.replays import Kind, Metric, Replay, Report
from storage.requests import Outcome


def replay(kind: Kind, report: Report | None, **fields: Any) -> Replay:
    """A replay of `support`."""
    return Replay(
        **{
            "id": 3, "kind": kind, "service": "support", "releases": (2,), "since_us": None,
            "sample": 1, "expected": None, "holds": None, "job_id": 7, "report": report,
            "asked_at_us": 0, "asked_by": "kim", "intent_id": None, "ended_at_us": 1, **fields,
        }
    )  # fmt: skip


def answer(release: int, text: str, **fields: Any) -> Answer:
    """An answer to its end."""
    return Answer(
        **{
            "release": release, "outcome": Outcome.OK, "text": text, "finish_reason": "stop",
            "prompt_tokens": 9, "completion_tokens": 3, "latency_us": 250_000, "ttft_us": 20_000,
            **fields,
        }
    )  # fmt: skip


def item(release: int, before: Answer, after: Answer | None, position: int = 1) -> Item:
    """An item of the replay."""
    return Item(
        replay_id=3, position=position, request_id="req_1", release=release, recorded_at_us=0,
        seed=1, asked="{}", before=before, after=after, f1=0.5, answered_at_us=1,
    )  # fmt: skip


def test_two_answers_are_side_by_side_with_what_differs_word_by_word() -> None:
    """Tokens, times, and the words; the lines of the answer cannot pass for ours."""
    before = answer(1, "Restart the worker.\nreplay   4, sample")
    after = answer(2, "Restart the node.\nreplay   4, sample", latency_us=90_000)
    shown = figures.lines(
        replay(Kind.REQUEST, Report(sentence="x")), [item(2, before, after)], None
    )
    rows = [" ".join(line.split()) for line in shown]
    assert "recorded (r1) replayed (r2)" in rows
    assert "tokens 9 prompt, 3 answer 9 prompt, 3 answer" in rows
    assert "latency 250 ms 90 ms" in rows
    assert "  Restart the [-worker-]{+node+}." in shown
    assert "  replay   4, sample" in shown
    assert max(map(len, shown)) <= 80


def test_the_same_answer_is_shown_once() -> None:
    """A failure on the other side has its reason."""
    before = answer(1, "Yes.")
    shown = figures.lines(replay(Kind.REQUEST, None), [item(2, before, answer(2, "Yes."))], None)
    assert shown[-2:] == ["Both answers are the same text:", "  Yes."]
    failed = Answer(release=2, outcome=Outcome.FAILED, error="worker_lost", why="the worker died")
    shown = figures.lines(replay(Kind.REQUEST, None), [item(2, before, failed)], None)
    assert any(line.split()[-4:] == ["failed:", "the", "worker", "died"] for line in shown)


def test_a_sample_has_its_figures_with_bounds_in_80_columns() -> None:
    """Losses of good ones are shown as falls; without enough items there are no bounds."""
    metrics = (
        Metric(name="failed", n=200, before=0.01, after=0.03, effect=0.02, low=0.004, high=0.036,
               grade="suspect"),
        Metric(name="same text", n=196, before=1, after=0.82, effect=0.18, low=0.14, high=0.229,
               grade="regressed"),
        Metric(name="latency p95", n=196, before=900_000, after=1_200_000, effect=1 / 3,
               low=None, high=None, grade="underpowered"),
    )  # fmt: skip
    report = Report(
        sentence="x", asked=200, same=160, metrics=metrics, finishes=(("stop", 190, 196),),
        differing=(("req_9", 0.04),), notes=("A note.",),
    )  # fmt: skip
    shown = figures.lines(replay(Kind.SAMPLE, report), [], None)
    rows = [" ".join(line.split()) for line in shown]
    assert "failed 200 1.0 % 3.0 % +2.0 points +0.4 … +3.6 suspect" in rows
    assert "same text 196 100.0 % 82.0 % -18.0 points -22.9 … -14.0" in rows
    assert "latency p95 196 900 ms 1.20 s +33.3 % too few underpowered" in rows
    assert "stop 190 196" in rows
    assert "req_9 0.04" in rows
    assert shown[-1] == "A note."
    assert max(map(len, shown)) <= 80


def test_a_bisection_shows_what_was_asked_and_what_distinguishes_the_two() -> None:
    """In the order in which they were asked; the words of both answers beside."""
    items = [
        item(1, answer(1, "old"), answer(1, "old"), 1),
        item(3, answer(1, "old"), answer(3, "new"), 2),
    ]
    report = Report(
        sentence="r3 is the first release.", good=1, culprit=3,
        differences=(("sampling.temperature", "0.0", "0.9"),),
    )  # fmt: skip
    shown = figures.lines(replay(Kind.BISECTION, report, releases=(1, 3)), items, None)
    rows = [" ".join(line.split()) for line in shown]
    assert rows.index("r1 ok old") < rows.index("r3 ok new")
    assert "sampling.temperature 0.0 0.9" in rows
    assert "  [-old-]{+new+}" in shown


def test_a_replay_in_the_list_says_how_far_it_is_and_how_it_ended() -> None:
    """A dash where its requests or its job were deleted."""
    row = figures.row(
        replay(Kind.SAMPLE, Report(sentence="All are the same."), sample=9), (9, 9), None
    )
    assert (row.id, row.kind, row.on, row.asked) == (3, "sample", "r2", "9/9")
    assert (row.result, row.under_way) == ("All are the same.", False)
    assert figures.row(replay(Kind.SAMPLE, None), None, None).asked == "–"
