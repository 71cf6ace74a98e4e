"""What is shown of replays: two answers side by side, a sample's figures, a bisection's steps.

Text of answers is made safe by who prints it. Imported by `app.commands.replays` and
`app.figures.reading`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app import job_progress, snapshot, word_diff, words
from storage import jobs, replay_items, replays
from storage.jobs import Job
from storage.past import jobs as past_jobs
from storage.past import replays as past_replays
from storage.replay_items import Answer, Item
from storage.replays import Kind, Metric, Replay
from storage.store import Session

_SHARES: Final = frozenset({"same text", "failed", "token F1"})
_TIMES: Final = frozenset({"latency p50", "latency p95"})
_GOOD: Final = frozenset({"same text", "token F1"})
"""Figures of which more is better, so that their effect is a loss."""
_GRADED: Final = frozenset({"failed", "latency p50", "latency p95"})


async def rows(
    s: Session, *, limit: int, at_us: int | None = None
) -> tuple[snapshot.ReplayRow, ...]:
    """The newest replays, newest first; of a past moment as they were."""
    if at_us is None:
        found = await replays.tail(s, limit)
        counts = await replay_items.counts(s, [each.id for each in found])
    else:
        found = await past_replays.tail(s, at_us, limit)
        counts = await past_replays.counts(s, [each.id for each in found], at_us)
    return tuple([row(each, counts.get(each.id), await work(s, each, at_us)) for each in found])


async def full(s: Session, id: int, at_us: int | None = None) -> snapshot.Replay:
    """One replay, as the command prints it.

    Raises:
        NotFound: there is no such replay.
    """
    replay, items, doing = await whole(s, id, at_us)
    answered = sum(each.after is not None for each in items), len(items)
    return snapshot.Replay(
        row=row(replay, answered if items else None, doing),
        lines=tuple(lines(replay, items, doing)),
    )


async def whole(
    s: Session, id: int, at_us: int | None = None
) -> tuple[Replay, list[Item], Job | None]:
    """A replay with its items and its job, now or at a past moment.

    Raises:
        NotFound: there is no such replay.
    """
    if at_us is None:
        replay, items = await replays.find(s, id), await replay_items.of(s, id)
    else:
        replay = await past_replays.find(s, id, at_us)
        items = await past_replays.items(s, id, at_us)
    return replay, items, await work(s, replay, at_us)


async def work(s: Session, replay: Replay, at_us: int | None = None) -> Job | None:
    """The job of a replay, None when it was deleted."""
    found = await jobs.of_intent(s, replay.intent_id) if replay.intent_id else None
    if found is None or at_us is None:
        return found
    return await past_jobs.find(s, found.id, at_us)


def row(replay: Replay, counted: tuple[int, int] | None, doing: Job | None) -> snapshot.ReplayRow:
    """One replay in the list."""
    return snapshot.ReplayRow(
        id=replay.id,
        kind=replay.kind.value,
        service=replay.service,
        on=releases(replay),
        asked=asked(counted),
        job=job(replay, doing),
        under_way=replay.ended_at_us is None and doing is not None,
        asked_at_us=replay.asked_at_us,
        by=replay.asked_by,
        result="" if replay.report is None else replay.report.sentence,
    )


def releases(replay: Replay) -> str:
    """The releases that are asked."""
    first, last = replay.releases[0], replay.releases[-1]
    return f"r{first}" if first == last else f"r{first} … r{last}"


def asked(counted: tuple[int, int] | None) -> str:
    """How many of the items were asked; a dash once they were deleted."""
    return words.UNKNOWN if counted is None else f"{counted[0]}/{counted[1]}"


def job(replay: Replay, work: Job | None) -> str:
    """The job's number and state."""
    return f"{replay.job_id} {work.state.value}" if work else words.whole(replay.job_id)


def lines(replay: Replay, items: Sequence[Item], work: Job | None) -> list[str]:
    """A replay in full."""
    report = replay.report
    asked_ = f"{words.clock(replay.asked_at_us)} by {replay.asked_by}"
    rows = [("replay", f"{replay.id}, {replay.kind.value}"), ("service", replay.service)]
    rows += [("on", releases(replay)), ("asked", asked_), ("job", job(replay, work))]
    found = words.table(rows)
    if report is None:
        now = "" if work is None else job_progress.sentence(work)
        found += ["", now or "It has not ended, and its job is gone."]
    else:
        found += ["", words.safe(report.sentence)]
    if replay.kind is Kind.REQUEST:
        found += _side_by_side(items)
    elif replay.kind is Kind.BISECTION:
        found += _steps(items)
        if report is not None and report.differences:
            differ = [(f, words.setting(a), words.setting(b)) for f, a, b in report.differences]
            head = ("", f"r{report.good}", f"r{report.culprit}")
            found += ["", *words.table([head, *differ])]
            found += _between(items, report.good, report.culprit)
    elif report is not None:
        found += _metrics(report.metrics)
        for title, counted in (("finish", report.finishes), ("failure", report.failures)):
            if counted:
                head = (title, "recorded", "replayed")
                counts = [(name, str(a), str(b)) for name, a, b in counted]
                found += ["", *words.table([head, *counts], right=(1, 2))]
        if report.differing:
            differing = [(id, f"{f1:.2f}") for id, f1 in report.differing]
            found += ["", *words.table([("differs most", "F1"), *differing], right=(1,))]
    if report is not None:
        found += ["", *(words.safe(note) for note in report.notes)] if report.notes else []
    return found


def _metrics(metrics: Sequence[Metric]) -> list[str]:
    rows = [("", "n", "recorded", "replayed", "change", "95 % bounds", "")]
    rows += [
        (
            each.name,
            str(each.n),
            _value(each, each.before),
            _value(each, each.after),
            _change(each, each.effect),
            _bounds(each),
            each.grade if each.name in _GRADED else "",
        )
        for each in metrics
    ]
    return ["", *words.table(rows, right=(1, 2, 3, 4))] if metrics else []


def _value(metric: Metric, value: float) -> str:
    if metric.name in _TIMES:
        return words.duration(value)
    if metric.name == "token F1":
        return f"{value:.3f}"
    return f"{value:.1%}".replace("%", " %") if metric.name in _SHARES else f"{value:.1f}"


def _change(metric: Metric, effect: float) -> str:
    """As the figure changed; `effect` is above 0 where it is worse, for shares of good ones."""
    return _signed(metric, effect) + _unit(metric)


def _signed(metric: Metric, effect: float) -> str:
    signed = (-effect if metric.name in _GOOD else effect) + 0.0  # no minus before 0
    return f"{signed:+.3f}" if metric.name == "token F1" else f"{100 * signed:+.1f}"


def _unit(metric: Metric) -> str:
    if metric.name == "token F1":
        return ""
    return " points" if metric.name in _SHARES else " %"


def _bounds(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return "too few"
    ends = (metric.low, metric.high)
    if metric.name in _GOOD:
        ends = (metric.high, metric.low)
    return " … ".join(_signed(metric, each) for each in ends)


def _side_by_side(items: Sequence[Item]) -> list[str]:
    if not items:
        return ["", "Its text was deleted, as old as the recorded one."]
    item = items[0]
    if item.after is None:
        return []
    before, after = item.before, item.after
    rows = [("", f"recorded ({_release(before)})", f"replayed ({_release(after)})")]
    rows += zip(_NAMES, _answer(before), _answer(after), strict=True)
    found = ["", *words.table(rows)]
    if item.f1 is not None:
        found.append(f"token F1       {item.f1:.3f}")
    return [*found, "", *_difference(before, after)]


def _difference(before: Answer, after: Answer) -> list[str]:
    if before.text == after.text:
        return ["Both answers are the same text:", *_inset(before.text)]
    section = word_diff.Section("", word_diff.words(before.text, after.text))
    found = ["[-recorded only-] {+replayed only+}"]
    for row in word_diff.lines(section):
        found += _inset(word_diff.marked(row))
    return found


_NAMES: Final = ("outcome", "finish", "tokens", "latency", "first token", "queue")


def _answer(answer: Answer) -> tuple[str, ...]:
    outcome = answer.outcome.value
    return (
        f"{outcome}: {answer.why or answer.error}" if answer.error else outcome,
        words.known(answer.finish_reason),
        f"{answer.prompt_tokens} prompt, {answer.completion_tokens} answer",
        words.duration(answer.latency_us),
        words.duration(answer.ttft_us),
        words.duration(answer.queue_us),
    )


def _steps(items: Sequence[Item]) -> list[str]:
    rows = [
        (f"r{item.release}", _answer(item.after)[0], words.cut(item.after.text, 60))
        for item in sorted(items, key=lambda item: item.position)
        if item.after is not None
    ]
    return ["", *words.table([("asked", "outcome", "answer"), *rows])] if rows else []


def _between(items: Sequence[Item], good: int | None, culprit: int | None) -> list[str]:
    answers = {item.release: item.after for item in items}
    before, after = answers.get(good or 0), answers.get(culprit or 0)
    if before is None or after is None:
        return []
    section = word_diff.Section("", word_diff.words(before.text, after.text))
    found = ["", f"[-r{good} only-] {{+r{culprit} only+}}"]
    for row in word_diff.lines(section):
        found += _inset(word_diff.marked(row))
    return found


def _release(answer: Answer) -> str:
    return words.UNKNOWN if answer.release is None else f"r{answer.release}"


def _inset(text: str) -> list[str]:
    """Foreign text, indented, so that no line of it can pass for a heading of ours."""
    return [f"  {line}".rstrip(" ") for line in text.split("\n")]
