"""One type for every verdict: the finding, the amount of data, and what is still needed.

A controller acts on `outcome`, a screen shows `sentence`, the store keeps all of it. A verdict on a
candidate fails it only where harm is shown, and passes it only where safety is: anything else is
undecided, however long it takes.

Computes no statistic: it calls or reads the modules beside it. Imported by the controllers
and by evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from engine.judging import (
    confidence_sequence,
    drift,
    exceedance,
    regression,
    sample_ratio,
    shift,
    two_rates,
)


class Outcome(StrEnum):
    """What a verdict says of the candidate."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition, judged.

    `condition` is its name, `n` how many requests, units, values or items were counted. `effect`
    and `interval` are in the unit of the condition: a rate, a difference of rates, a shift, a mean.
    `needed` is how many more are needed at best, 0 once decided, None where it cannot be said.
    """

    condition: str
    outcome: Outcome
    n: int
    effect: float
    interval: tuple[float, float]
    needed: int | None
    sentence: str


def rate(
    condition: str, n: int, events: int, allowed: float, alpha: float = exceedance.ALPHA
) -> Verdict:
    """Both gates of `exceedance` on one rate.

    Raises:
        CannotJudge: the counts or the shares are impossible.
    """
    harm = exceedance.harm(n, events, allowed, alpha)
    safe = exceedance.safety(n, events, allowed, alpha).reached
    needed = 0 if harm.reached else exceedance.needed(n, events, allowed, alpha)
    seen = f"{condition}: {events} of {n} requests"
    if n:
        seen += f" ({_percent(harm.rate)}, {_between(harm.interval, _percent)})"
    if harm.reached:
        return _fail(
            condition, n, harm.rate, harm.interval, f"{seen}, above the {_percent(allowed)} allowed"
        )
    if safe:
        return _pass(
            condition, n, harm.rate, harm.interval, f"{seen}, below the {_percent(allowed)} allowed"
        )
    return Verdict(
        condition, Outcome.UNDECIDED, n, harm.rate, harm.interval, needed,
        f"{seen}, {_percent(allowed)} allowed; passes after {needed} more without one",
    )  # fmt: skip


def against_stable(
    condition: str, contrast: two_rates.Contrast, *, less_is_better: bool = True
) -> Verdict:
    """A difference of two rates, decided by its sign once there is evidence.

    A contrast that looked for more of something bad (`Side.HIGHER`) can fail and never passes; one
    that looked on both sides can do either.
    """
    n = contrast.candidate_n + contrast.stable_n
    effect, interval = contrast.difference, contrast.difference_interval
    seen = (
        f"{condition}: {contrast.candidate_events} of {contrast.candidate_n} requests on the"
        f" candidate, {contrast.stable_events} of {contrast.stable_n} on stable"
    )
    if n:
        seen += f" (difference {_percent(effect)}, {_between(interval, _percent)})"
    if contrast.reached:
        better = (effect < 0) == less_is_better
        ended, said = (_pass, "better") if better else (_fail, "worse")
        return ended(condition, n, effect, interval, f"{seen}: {said}")
    more = _more(contrast.needed, "requests")
    return Verdict(
        condition, Outcome.UNDECIDED, n, effect, interval, contrast.needed,
        f"{seen}: no difference shown{more}",
    )  # fmt: skip


def shifted(
    condition: str, seen: shift.Shift, unit: str, *, less_is_better: bool = True
) -> Verdict:
    """A shift: fails if worse by more than the least effect, passes if it is shown not to be."""
    n = seen.candidate_n + seen.stable_n
    found = f"{condition}: {_signed(seen.shift)} {unit} against stable"
    if math.isfinite(seen.interval[0]):
        found += f" ({_between(seen.interval, _signed)} {unit})"
    worse = shift.Direction.LARGER if less_is_better else shift.Direction.SMALLER
    if seen.direction is worse:
        return _fail(condition, n, seen.shift, seen.interval, f"{found}: worse")
    if seen.direction is not shift.Direction.UNDECIDED:
        said = "no relevant difference" if seen.direction is shift.Direction.SAME else "better"
        return _pass(condition, n, seen.shift, seen.interval, f"{found}: {said}")
    return Verdict(
        condition, Outcome.UNDECIDED, n, seen.shift, seen.interval, seen.needed,
        f"{found}: undecided{_more(seen.needed, 'values')}",
    )  # fmt: skip


def since(condition: str, seen: drift.Since, unit: str) -> Verdict:
    """What has grown since a change: fails where a drift before does not explain it."""
    found = seen.shift
    n = found.candidate_n + found.stable_n
    said = f"{condition}: {_signed(found.shift)} {unit}"
    if math.isfinite(found.interval[0]):
        said += f" ({_between(found.interval, _signed)} {unit})"
    if math.isfinite(seen.drift):
        said += f", a drift before explains {seen.drift:.3g} {unit} at most"
    if seen.worse:
        return _fail(condition, n, found.shift, found.interval, f"{said}: worse")
    if found.direction in {shift.Direction.SAME, shift.Direction.SMALLER}:
        return _pass(condition, n, found.shift, found.interval, f"{said}: no harm")
    return Verdict(
        condition, Outcome.UNDECIDED, n, found.shift, found.interval, found.needed,
        f"{said}: undecided",
    )  # fmt: skip


def averaged(
    condition: str, seen: confidence_sequence.Mean, unit: str, *, less_is_better: bool = True,
    needed: int | None = None,
) -> Verdict:  # fmt: skip
    """A difference of means: passes where the candidate is better, fails where it is worse.

    `needed` is the answer of `confidence_sequence.needed_for` to the difference that matters.
    """
    found = f"{condition}: {_signed(seen.effect)} {unit} against stable"
    if math.isfinite(seen.interval[0]):
        found += f" ({_between(seen.interval, _signed)} {unit})"
    if seen.excludes_zero:
        better = (seen.effect < 0) == less_is_better
        ended = _pass if better else _fail
        said = "better" if better else "worse"
        return ended(condition, seen.n, seen.effect, seen.interval, f"{found}: {said}")
    missing = seen.needed or needed
    return Verdict(
        condition, Outcome.UNDECIDED, seen.n, seen.effect, seen.interval, missing,
        f"{found}: undecided{_more(missing, 'values')}",
    )  # fmt: skip


def split(condition: str, seen: sample_ratio.SampleRatio) -> Verdict:
    """The sample-ratio check; the effect is the largest distance of a share from its weight."""
    most = max(seen.arms, key=lambda arm: abs(arm.units - arm.expected))
    apart = (most.units - most.expected) / seen.n if seen.n else 0.0
    found = (
        f"{condition}: arm {most.name} has {most.units} of {seen.n} units,"
        f" {most.expected:.0f} expected"
    )
    if seen.p_value is None:
        return Verdict(
            condition, Outcome.UNDECIDED, seen.n, apart, (-1.0, 1.0), seen.needed,
            f"{found}: too few to tell{_more(seen.needed, 'units')}",
        )  # fmt: skip
    found += f" (p = {seen.p_value:.2g})"
    ended, said = (_pass, "as set") if seen.healthy else (_fail, "not as set; check the assignment")
    return ended(condition, seen.n, apart, (-1.0, 1.0), f"{found}: {said}")


def regressed(condition: str, seen: regression.Regression) -> Verdict:
    """A run against its baseline; `suspect` is undecided and wants a person or more items."""
    found = (
        f"{condition}: {_percent(seen.effect)} worse ({_between(seen.interval, _percent)},"
        f" {seen.n} items): {seen.grade.value}"
    )
    if seen.grade is regression.Grade.REGRESSED:
        return _fail(condition, seen.n, seen.effect, seen.interval, found)
    if seen.grade is regression.Grade.OK:
        return _pass(condition, seen.n, seen.effect, seen.interval, found)
    if seen.grade is regression.Grade.UNDERPOWERED and math.isfinite(seen.smallest_detectable):
        found += f" (smallest detectable: {_percent(seen.smallest_detectable)})"
    return Verdict(condition, Outcome.UNDECIDED, seen.n, seen.effect, seen.interval, None, found)


def _pass(
    condition: str, n: int, effect: float, interval: tuple[float, float], said: str
) -> Verdict:
    return Verdict(condition, Outcome.PASS, n, effect, interval, 0, said)


def _fail(
    condition: str, n: int, effect: float, interval: tuple[float, float], said: str
) -> Verdict:
    return Verdict(condition, Outcome.FAIL, n, effect, interval, 0, said)


def _percent(share: float) -> str:
    return (
        f"{100 * share:.2g} %"
        if math.isfinite(share) and abs(share) < 1
        else f"{100 * share:.0f} %"
    )


def _signed(value: float) -> str:
    return f"{value:+.3g}"


def _between(interval: tuple[float, float], shown: Callable[[float], str]) -> str:
    low, high = interval
    return f"between {shown(low)} and {shown(high)}"


def _more(needed: int | None, things: str) -> str:
    return f"; {needed} more {things} would do at best" if needed else ""
