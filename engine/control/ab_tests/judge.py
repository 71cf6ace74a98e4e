"""Verdicts of an A/B test, from its counts.

Among tests without a difference at most a share `ALPHA` names a winner, however often they are
looked at; the treatments divide it equally for the goal that decides. Rates are compared by an
e-process over blocks of units, means by a confidence sequence, both of which may be asked at every
look. Durations have outliers, on which a mean converges slowly, so a fifth of their part is kept
for one look at their median difference at the end of the test. Pure. Imported by
`engine.control.ab_tests`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from engine.control.ab_tests.count import moments
from engine.judging import (
    confidence_sequence,
    errors,
    exceedance,
    sample_ratio,
    shift,
    two_rates,
    verdict,
)
from engine.judging.two_rates import Block, Side
from storage import ab_test_goals
from storage.ab_test_evidence import Count, Evidence
from storage.ab_test_goals import Goal, Metric, Unit
from storage.ab_test_looks import Kind, Look, Verdict
from storage.ab_tests import AbTest
from storage.rollout_guards import Guard
from storage.splits import WHOLE_BP

ALPHA: Final = 0.05
LAST_LOOK: Final = 0.2
"""The part of a duration's alpha that is kept for the look at the end."""
FIRST_RATIO: Final = 100
"""Units from which their ratio is checked; again whenever there are twice as many."""
_MOST_NEEDED: Final = 10**7
_SPLIT: Final = "split"

Measured = Mapping[int, Sequence[int]]
"""All measurements of the goal that decides, by release."""


def looks(
    test: AbTest, evidence: Evidence, at_us: int, measured: Measured | None = None
) -> tuple[Look, ...]:
    """A look at each goal and each guard of each treatment; `measured` makes it the last one."""
    found = [
        _goal(test, at, release, evidence, at_us)
        for at in range(len(test.goals))
        for release in test.treatments
    ]
    if measured is not None:
        found = [_at_the_end(test, look, measured) for look in found]
    guards = [
        _guard(test, at, release, evidence, at_us)
        for at in range(len(test.guards))
        for release in test.treatments
    ]
    return (*found, *guards)


def ratio_due(evidence: Evidence) -> bool:
    """Whether the units of the arms are to be held against their weights at this look."""
    return evidence.units >= max(FIRST_RATIO, 2 * evidence.ratio_units)


def ratio(test: AbTest, evidence: Evidence, at_us: int) -> Look:
    """Whether the arms have the units that their weights promise."""
    units = {f"r{arm.release}": arm.units for arm in evidence.arms}
    weights = {f"r{arm.release}": arm.weight_bp for arm in test.arms}
    seen = verdict.split(_SPLIT, sample_ratio.check(units, weights))
    verdicts = {
        verdict.Outcome.PASS: Verdict.HOLDS,
        verdict.Outcome.FAIL: Verdict.MISMATCH,
        verdict.Outcome.UNDECIDED: Verdict.PENDING,
    }
    return Look(
        kind=Kind.SPLIT, name=_SPLIT, release=0, at_us=at_us, n=seen.n, effect=seen.effect,
        needed=seen.needed, verdict=verdicts[seen.outcome], sentence=seen.sentence,
    )  # fmt: skip


def _goal(test: AbTest, at: int, release: int, evidence: Evidence, at_us: int) -> Look:
    goal = test.goals[at]
    alpha = ALPHA / len(test.treatments)
    if goal.unit is Unit.SHARE:
        return _rate(test, at, release, evidence, alpha, at_us)
    share = 1 - LAST_LOOK if _has_last_look(test, goal) else 1.0
    treated, control = (moments(evidence.of(each).values[at]) for each in (release, test.control))
    seen = confidence_sequence.difference(treated, control, alpha * share)
    needed = seen.needed or confidence_sequence.needed_for(
        goal.least_effect, treated, control, alpha * share
    )
    sign = (seen.effect > 0) - (seen.effect < 0) if seen.excludes_zero else 0
    return _made(
        test, goal, release, at_us, n=seen.n, effect=seen.effect if seen.n else None,
        interval=seen.interval, sign=sign, needed=needed,
    )  # fmt: skip


def _rate(
    test: AbTest, at: int, release: int, evidence: Evidence, alpha: float, at_us: int
) -> Look:
    goal = test.goals[at]
    blocks = _blocks(evidence, at, release, test.control)
    treated, control = evidence.of(release).rates[at], evidence.of(test.control).rates[at]
    expected = 0.01 if goal.metric is Metric.ERROR_RATE else 0.5
    seen = two_rates.compare(blocks, expected=expected, side=Side.EITHER, alpha=alpha)
    sign = (seen.difference > 0) - (seen.difference < 0) if seen.reached else 0
    nearest = [
        each
        for each in (seen.needed, _needed_to_exclude(goal, treated, control, alpha))
        if each is not None
    ]
    effect = None
    if treated.n and control.n:
        effect = treated.events / treated.n - control.events / control.n
    return _made(
        test, goal, release, at_us, n=treated.n + control.n, effect=effect,
        interval=_difference(treated, control, alpha), sign=sign,
        needed=min(nearest, default=None),
    )  # fmt: skip


def _blocks(evidence: Evidence, at: int, release: int, control: int) -> list[Block]:
    """The marked blocks of two arms; the units since the last mark wait for the next one."""
    places = [arm.release for arm in evidence.arms]
    a, b = places.index(release), places.index(control)
    nothing = (Count(),) * len(places)
    return [
        Block(
            after[a].n - before[a].n, after[a].events - before[a].events,
            after[b].n - before[b].n, after[b].events - before[b].events,
        )
        for before, after in pairwise((nothing, *evidence.marks[at]))
    ]  # fmt: skip


def _difference(treated: Count, control: Count, alpha: float) -> tuple[float, float]:
    """The interval of the difference of two rates, of all units and at every number of them."""
    a = exceedance.interval(treated.n, treated.events, alpha / 2)
    b = exceedance.interval(control.n, control.events, alpha / 2)
    return a[0] - b[1], a[1] - b[0]


def _needed_to_exclude(goal: Goal, treated: Count, control: Count, alpha: float) -> int | None:
    """More units until the interval excludes a difference that matters, at the rates so far.

    Right to a tenth. None where they would not, or while an arm has no unit.
    """
    if not (treated.n and control.n):
        return None
    n = treated.n + control.n

    def enough(factor: float) -> bool:
        a, b = _grown(treated, factor), _grown(control, factor)
        return _within(*_difference(a, b, alpha), goal.least_effect)

    if enough(1.0):
        return 0
    short, found = 1.0, 2.0
    while not enough(found):
        short, found = found, found * 2
        if n * found > _MOST_NEEDED:
            return None
    while found > 1.1 * short:
        middle = math.sqrt(short * found)
        short, found = (short, middle) if enough(middle) else (middle, found)
    return math.ceil(n * (found - 1))


def _grown(count: Count, factor: float) -> Count:
    return Count(round(count.n * factor), round(count.events * factor))


def _at_the_end(test: AbTest, look: Look, measured: Measured) -> Look:
    """The look at the end at the median difference of the goal that decides, if it is undecided."""
    goal = test.goal
    if look.name != goal.name or look.verdict not in {Verdict.PENDING, Verdict.RUNNING}:
        return look
    alpha = ALPHA / len(test.treatments) * LAST_LOOK
    treated, control = (measured.get(each, ()) for each in (look.release, test.control))
    try:
        seen = shift.compare(treated, control, least=goal.least_effect, alpha=alpha)
    except errors.CannotJudge:
        return look  # an arm has no value: there is no result
    signs = {shift.Direction.LARGER: 1, shift.Direction.SMALLER: -1}
    return _made(
        test, goal, look.release, look.at_us, n=seen.candidate_n + seen.stable_n,
        effect=seen.shift, interval=seen.interval, sign=signs.get(seen.direction, 0),
        needed=seen.needed, what="median ",
    )  # fmt: skip


def _has_last_look(test: AbTest, goal: Goal) -> bool:
    return goal.unit is Unit.MICROSECONDS and goal == test.goal


def _within(low: float, high: float, least: float) -> bool:
    return -least <= low and high <= least


def _made(
    test: AbTest,
    goal: Goal,
    release: int,
    at_us: int,
    *,
    n: int,
    effect: float | None,
    interval: tuple[float, float],
    sign: int,
    needed: int | None,
    what: str = "",
) -> Look:
    """The look of a comparison; `sign` is the sign of a difference that is shown, else 0."""
    low, high = interval if effect is not None else (-math.inf, math.inf)
    if _within(low, high, goal.least_effect):
        found = Verdict.SAME
    elif sign:
        found = Verdict.BETTER if (sign < 0) == goal.less_is_better else Verdict.WORSE
    else:
        found = Verdict.RUNNING if n else Verdict.PENDING
    decided = found in {Verdict.SAME, Verdict.BETTER, Verdict.WORSE}
    return Look(
        kind=Kind.GOAL, name=goal.name, release=release, at_us=at_us, n=n, effect=effect,
        low=low if math.isfinite(low) else None, high=high if math.isfinite(high) else None,
        needed=0 if decided else needed, verdict=found,
        sentence=_sentence(test, goal, release, n, effect, interval, found, needed, what),
    )  # fmt: skip


def _sentence(
    test: AbTest,
    goal: Goal,
    release: int,
    n: int,
    effect: float | None,
    interval: tuple[float, float],
    found: Verdict,
    needed: int | None,
    what: str,
) -> str:
    said = f"{what}{goal.name}: r{release} against r{test.control}"
    if effect is not None:
        said += f" {ab_test_goals.size(goal.unit, effect, signed=True)}"
        if math.isfinite(interval[0]):
            low, high = (ab_test_goals.size(goal.unit, each, signed=True) for each in interval)
            said += f" (between {low} and {high})"
    said += f", {n} units"
    match found:
        case Verdict.SAME:
            least = ab_test_goals.size(goal.unit, goal.least_effect)
            return f"{said}: no difference of {least} or more"
        case Verdict.BETTER | Verdict.WORSE:
            return f"{said}: {found.value}"
        case _:
            more = f"; {needed} more would do at best" if needed else ""
            return f"{said}: undecided{more}"


def _guard(test: AbTest, at: int, release: int, evidence: Evidence, at_us: int) -> Look:
    guard: Guard = test.guards[at]
    count = evidence.of(release).guards[at]
    alpha = ALPHA / (len(test.guards) * len(test.treatments))
    allowed = guard.allowed_bp / WHOLE_BP
    harm = exceedance.harm(count.n, count.events, allowed, alpha)
    safe = exceedance.safety(count.n, count.events, allowed, ALPHA)
    found = Verdict.RUNNING if count.n else Verdict.PENDING
    if harm.reached:
        found = Verdict.HARM
    elif safe.reached:
        found = Verdict.HOLDS
    return Look(
        kind=Kind.GUARD, name=guard.name, release=release, at_us=at_us, n=count.n,
        effect=harm.rate if count.n else None, low=harm.interval[0], high=harm.interval[1],
        needed=0 if harm.reached else exceedance.needed(count.n, count.events, allowed, ALPHA),
        verdict=found,
        sentence=f"{guard.name}: r{release} {count.events} of {count.n} requests",
    )  # fmt: skip
