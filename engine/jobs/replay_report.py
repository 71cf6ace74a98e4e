"""The report of a replay: recorded and new answers compared, with intervals.

Pure arithmetic over items that were asked. The items are paired, each with itself, so the tests are
those of `engine.judging.regression`. Texts, lengths and times are compared over the items that both
sides answered to their end, failures over all of them. Times leave out the wait in the queue: it
depends on other traffic, which differs from that of the recording. Imported by
`engine.jobs.replay`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from engine.judging import regression
from engine.judging.regression import Regression
from storage.deployments import Backend
from storage.replay_items import Answer, Item
from storage.replays import Metric, Report

MOST_DIFFERING: Final = 20
_NONE: Final = "none"


def single(items: Sequence[Item], backend: Backend) -> Report:
    """The report of one request, which has nothing to infer from."""
    asked = [(item, item.after) for item in items if item.after is not None]
    pairs = [(item, after) for item, after in asked if item.same is not None]
    said = "The request was not replayed: its text has been deleted."
    for item, after in asked:
        said = f"r{item.release} gives another answer than the recorded one."
        if item.same:
            said = f"r{item.release} gives the recorded answer."
        elif not after.ok:
            said = f"r{item.release} does not answer: {after.why or after.error}."
        elif not item.before.ok:
            said = f"r{item.release} answers; the recorded request failed ({item.before.error})."
    return Report(
        sentence=said,
        asked=len(asked),
        same=sum(1 for item, _ in pairs if item.same),
        notes=tuple(_notes(asked, pairs, backend)),
    )


def report(items: Sequence[Item], backend: Backend, notes: Iterable[str] = ()) -> Report:
    """The report of a sample on one release; items without an answer are left out."""
    asked = [(item, item.after) for item in items if item.after is not None]
    pairs = [(item, after) for item, after in asked if item.same is not None]
    metrics = [_failed(asked)] if asked else []
    metrics += _of_pairs(pairs) if pairs else []
    same = sum(1 for item, _ in pairs if item.same)
    return Report(
        sentence=_sentence(len(asked), len(pairs), same, metrics),
        asked=len(asked),
        same=same,
        metrics=tuple(metrics),
        finishes=_both(asked, lambda answer: answer.finish_reason if answer.ok else None),
        failures=_both(asked, lambda answer: None if answer.ok else answer.error or _NONE),
        differing=_differing(pairs),
        notes=(*notes, *_notes(asked, pairs, backend)),
    )


def _of_pairs(pairs: Sequence[tuple[Item, Answer]]) -> list[Metric]:
    ones, before = [1.0] * len(pairs), [item.before for item, _ in pairs]
    after = [answer for _, answer in pairs]
    working = [[each.working_us for each in side] for side in (before, after)]
    tokens = [[max(1, each.completion_tokens) for each in side] for side in (before, after)]
    return [
        _metric(
            "same text",
            regression.binary([True] * len(pairs), [bool(item.same) for item, _ in pairs]),
            least=0,
        ),
        _metric(
            "token F1", regression.scores(ones, [item.f1 or 0.0 for item, _ in pairs]), least=0
        ),
        _metric("answer tokens", regression.mean_ratio(*tokens)),
        _metric("latency p50", regression.quantile_ratio(*working, quantile=0.5)),
        _metric("latency p95", regression.quantile_ratio(*working, quantile=0.95)),
    ]


def _failed(asked: Sequence[tuple[Item, Answer]]) -> Metric:
    found = regression.binary(
        [item.before.ok for item, _ in asked], [after.ok for _, after in asked]
    )
    return _metric("failed", found, shares=lambda ok: 1 - ok)


def _metric(
    name: str,
    found: Regression,
    shares: Callable[[float], float] = lambda value: value,
    least: float = -math.inf,
) -> Metric:
    """`least` is the smallest effect that is possible."""
    low, high = max(found.interval[0], least), found.interval[1]
    return Metric(
        name=name,
        n=found.n,
        before=shares(found.baseline),
        after=shares(found.candidate),
        effect=found.effect,
        low=low if math.isfinite(found.interval[0]) else None,
        high=high if math.isfinite(high) else None,
        grade=found.grade.value,
    )


def _both(
    asked: Sequence[tuple[Item, Answer]], of: Callable[[Answer], str | None]
) -> tuple[tuple[str, int, int], ...]:
    """How often each word occurs on both sides, the most frequent first."""
    before = Counter(word for item, _ in asked if (word := of(item.before)) is not None)
    after = Counter(word for _, answer in asked if (word := of(answer)) is not None)
    names = sorted(before | after, key=lambda name: (-before[name] - after[name], name))
    return tuple((name, before[name], after[name]) for name in names)


def _differing(pairs: Sequence[tuple[Item, Answer]]) -> tuple[tuple[str, float], ...]:
    others = [(item.f1 or 0.0, item.position, item) for item, _ in pairs if not item.same]
    return tuple(
        (item.request_id, f1) for f1, _, item in sorted(others, key=lambda each: each[:2])
    )[:MOST_DIFFERING]


def _notes(
    asked: Sequence[tuple[Item, Answer]], pairs: Sequence[tuple[Item, Answer]], backend: Backend
) -> list[str]:
    notes = []
    recorded = Counter(item.before.release for item, _ in asked)
    if len(asked) > 1:
        said = ", ".join(f"r{number} ({count})" for number, count in sorted(_known(recorded)))
        notes.append(f"The recorded answers are those of {said or 'no release'}.")
    if backend is not Backend.LOCAL:
        notes.append(NOT_REPRODUCIBLE)
    again = [item for item, _ in pairs if item.before.release == item.release]
    changed = sum(1 for item in again if not item.same)
    if changed and backend is Backend.LOCAL:
        few = "This answer" if len(asked) == 1 else f"{changed} of {len(again)} answers"
        notes.append(f"{few} {OTHERWISE}")
    if pairs:
        notes.append(
            "Times leave out the wait in the queue; replays run in class background, beside "
            "other traffic than the recorded requests."
        )
    return notes


NOT_REPRODUCIBLE: Final = (
    "The release is answered by another server: whether the same seed gives the same text is up "
    "to that server."
)
OTHERWISE: Final = (
    "of this same release came out differently: its engine or its devices have changed since, or a "
    "GPU summed in another order."
)


def _known(counted: Counter[int | None]) -> list[tuple[int, int]]:
    return [(number, count) for number, count in counted.items() if number is not None]


def _sentence(asked: int, pairs: int, same: int, metrics: Sequence[Metric]) -> str:
    if not asked:
        return "No request was replayed: their texts have been deleted."
    worse = [each.name for each in metrics if each.name in _GUARDED and each.grade == "regressed"]
    said = f"Asked {asked} {'request' if asked == 1 else 'requests'}: {same} of {pairs} answers"
    said += " are the same text"
    failed = metrics[0]
    if failed.after > failed.before:
        said += f", {round(failed.after * asked)} failed (recorded: {round(failed.before * asked)})"
    return f"{said}; worse: {', '.join(worse)}." if worse else f"{said}."


_GUARDED: Final = frozenset({"failed", "latency p50", "latency p95"})
