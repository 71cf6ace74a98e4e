"""By how much the candidate's values are larger or smaller than stable's, in their own unit.

For latency, time to first token, inter-token time, length: skewed, with outliers, often tied.
The effect is the Hodges–Lehmann shift, the median of all differences candidate minus stable; its
interval and the p-value are those of the Mann–Whitney test. Outliers weigh no more than any value.

Asked once for each step, not at every look: the level is that of one look. Assumed: values are
independent within and between arms. Requests that waited in one queue resemble each other, so a
short step under load gives too narrow an interval; compare time slices that both arms
share, and prompts of like length. With ties the interval is a little too wide.

Memory is that of the two samples, time is n log n: two times 100,000 values take about a second.
Never decides what to do. Imported by the controllers and `comparison_power`.

Sources: Mann and Whitney 1947; Hodges and Lehmann 1963; Moses's interval as in Hollander, Wolfe and
Chicken 2014, "Nonparametric statistical methods", section 4.3; the correction for ties, section
4.1. Kayenta's judge uses the same test and interval, and a least effect (a quarter of the estimate
there, a size in the metric's unit here). SciPy has the test, not the interval, and would cost a
controller 79 MB and two seconds at its first call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.judging import errors, exceedance

# The normal approximation is good to a percentage point from here on.
LEAST: Final = 20

# How many values of each arm stand for all when the search for a difference begins.
THINNED: Final = 300

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Direction(StrEnum):
    """Where the interval of the shift is, beside the least effect that matters."""

    LARGER = "larger"  # all of it above the least effect
    SMALLER = "smaller"  # all of it below minus the least effect
    SAME = "same"  # all of it within the least effect on both sides
    UNDECIDED = "undecided"  # none of these: more values are needed


@dataclass(frozen=True, slots=True)
class Shift:
    """The candidate's shift against stable, in the unit of the values.

    `superiority` is the chance that a candidate value is above a stable one, ties counting half.
    `needed` is how many more values, both arms together, would make the interval as narrow as the
    distance between the shift and the nearer edge of the least effect; 0 once decided, None where
    no number would or none can be named yet. Below 20 values in an arm the direction is undecided.
    """

    direction: Direction
    shift: float
    interval: tuple[float, float]
    p_value: float
    superiority: float
    candidate_n: int
    stable_n: int
    needed: int | None


@dataclass(frozen=True, slots=True)
class Counted:
    """Distinct values, ascending; how often each occurs; how many are before each, and in all."""

    values: Floats
    counts: Integers
    before: Integers

    @property
    def n(self) -> int:
        """How many values, with their repetitions."""
        return int(self.before[-1])


def compare(
    candidate: npt.ArrayLike,
    stable: npt.ArrayLike,
    *,
    least: float = 0.0,
    alpha: float = exceedance.ALPHA,
) -> Shift:
    """The shift of one-dimensional samples, and its interval at confidence 1 - alpha.

    `least` is the smallest shift that matters, in the unit of the values.

    Raises:
        CannotJudge: an arm has no value, one is infinite or no number, or `least` is negative.
    """
    errors.check_share("alpha", alpha)
    if not least >= 0:
        raise errors.CannotJudge(f"the least effect is {least}: give 0 or more")
    a, b = counted("candidate", candidate), counted("stable", stable)
    pairs = a.n * b.n
    share = superiority(a, b)
    margin = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(pairs * (a.n + b.n + 1) / 12)
    rank = math.floor(pairs / 2 - margin)
    interval = -math.inf, math.inf
    if min(a.n, b.n) >= LEAST and rank >= 1:
        interval = difference_at(a, b, rank), difference_at(a, b, pairs - rank + 1)
    middle = difference_at(a, b, (pairs + 1) // 2)
    effect = middle if pairs % 2 else (middle + difference_at(a, b, pairs // 2 + 1)) / 2
    direction = _direction(interval, least)
    return Shift(
        direction=direction,
        shift=effect,
        interval=interval,
        p_value=_p_value((share - 0.5) * pairs, _variance(a, b)),
        superiority=share,
        candidate_n=a.n,
        stable_n=b.n,
        needed=_needed(a.n, b.n, effect, interval, least)
        if direction is Direction.UNDECIDED
        else 0,
    )


def counted(name: str, values: npt.ArrayLike) -> Counted:
    """The distinct values of a sample, sorted, with how often each occurs.

    Raises:
        CannotJudge: there is no value, or one is infinite or no number.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        raise errors.CannotJudge(f"{name} has no value yet: wait for its first request")
    if not np.isfinite(array).all():
        raise errors.CannotJudge(f"{name} has a value that is infinite or not a number: correct it")
    distinct, counts = np.unique(array, return_counts=True)
    return Counted(distinct, counts, np.concatenate([[0], np.cumsum(counts)]))


def superiority(candidate: Counted, stable: Counted) -> float:
    """The share of pairs in which the candidate's value is larger, ties counting half."""
    below = stable.before[np.searchsorted(stable.values, candidate.values, side="left")]
    up_to = stable.before[np.searchsorted(stable.values, candidate.values, side="right")]
    doubled = int((candidate.counts * (below + up_to)).sum())
    return doubled / 2 / (candidate.n * stable.n)


def difference_at(candidate: Counted, stable: Counted, rank: int) -> float:
    """The difference with this rank, from 1, among all of candidate minus stable.

    Bisects on the value, counting the differences up to it, until few enough are left to list.
    """
    a, b = candidate, stable
    ends = np.array([a.values[0] - b.values[-1], a.values[-1] - b.values[0]])
    slack = 1e-12 * max(1e-290, np.abs(a.values).max(), np.abs(b.values).max())
    low, high = float(ends[0] - slack), float(ends[1] + slack)
    for guess in _guesses(a, b, rank):
        if low < guess < high:
            low, high = (low, guess) if _up_to(a, b, guess) >= rank else (guess, high)
    most = 4 * (a.values.size + b.values.size)
    while int((_places(a, b, low) - _places(a, b, high)).sum()) > most:
        middle = low + (high - low) / 2
        if not low < middle < high:
            return high
        low, high = (low, middle) if _up_to(a, b, middle) >= rank else (middle, high)
    return _listed(a, b, low, high, rank - _up_to(a, b, low))


def _guesses(a: Counted, b: Counted, rank: int) -> list[float]:
    """Two values that the difference is probably between, from 300 values of each arm."""
    if a.values.size * b.values.size <= THINNED**2:
        return []
    places = (np.arange(THINNED) + 0.5) / THINNED
    thin = [
        each.values[np.searchsorted(each.before, places * each.n, side="right") - 1]
        for each in (a, b)
    ]
    differences = np.sort(np.subtract.outer(*thin).ravel())
    share = rank / (a.n * b.n)
    return [
        float(
            differences[min(max(int((share + apart) * differences.size), 0), differences.size - 1)]
        )
        for apart in (-0.005, 0.005)
    ]


def _listed(a: Counted, b: Counted, low: float, high: float, rank: int) -> float:
    """The difference with this rank among those above `low` and up to `high`."""
    first, last = _places(a, b, high), _places(a, b, low)
    lengths = last - first
    of_a = np.repeat(np.arange(a.values.size), lengths)
    starts = np.repeat(first - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    of_b = starts + np.arange(of_a.size)
    differences = a.values[of_a] - b.values[of_b]
    order = np.argsort(differences, kind="stable")
    reached = np.cumsum((a.counts[of_a] * b.counts[of_b])[order])
    return float(differences[order][np.searchsorted(reached, rank)])


def _places(a: Counted, b: Counted, difference: float) -> Integers:
    """For each value of `a`, where the values of `b` begin that are within the difference."""
    return np.searchsorted(b.values, a.values - difference, side="left")


def _up_to(a: Counted, b: Counted, difference: float) -> int:
    """How many of a - b are at most the difference."""
    return int(a.n * b.n - (a.counts * b.before[_places(a, b, difference)]).sum())


def _variance(a: Counted, b: Counted) -> float:
    """That of the Mann–Whitney statistic, with ties."""
    n = a.n + b.n
    _, inverse = np.unique(np.concatenate([a.values, b.values]), return_inverse=True)
    tied = np.bincount(inverse, weights=np.concatenate([a.counts, b.counts]))
    return a.n * b.n / 12 * (n + 1 - float((tied**3 - tied).sum()) / (n * (n - 1)))


def _p_value(distance: float, variance: float) -> float:
    """Two-sided, with the correction for continuity."""
    if variance <= 0:
        return 1.0
    return min(1.0, math.erfc(max(abs(distance) - 0.5, 0) / math.sqrt(2 * variance)))


def _direction(interval: tuple[float, float], least: float) -> Direction:
    low, high = interval
    if low > least:
        return Direction.LARGER
    if high < -least:
        return Direction.SMALLER
    if -least <= low and high <= least and math.isfinite(low):
        return Direction.SAME
    return Direction.UNDECIDED


def _needed(
    candidate_n: int, stable_n: int, effect: float, interval: tuple[float, float], least: float
) -> int | None:
    if not math.isfinite(interval[0]):
        return max(0, LEAST - candidate_n) + max(0, LEAST - stable_n) or None
    distance = abs(abs(effect) - least)
    if distance == 0:
        return None
    half = (interval[1] - interval[0]) / 2
    return max(1, math.ceil((candidate_n + stable_n) * ((half / distance) ** 2 - 1)))
