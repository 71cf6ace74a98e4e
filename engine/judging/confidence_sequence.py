"""Means of anything, and the difference of two, with intervals that may be looked at all the time.

For A/B tests on continuous metrics: tokens, cost, a score, the length of a session. The interval
holds the true mean at all sample sizes at once with confidence 1 - alpha, as the sample grows.

Assumed: values are independent with one mean and a finite variance, and the share of each arm is
constant (a test whose weights change is a new test). One value for each unit, not each request: a
unit's requests resemble each other. The guarantee is asymptotic, so nothing is said before 200
values in each arm. Looked at after each value from there to 5000, a mean is missed by 3.3 % of
runs with normal values, 4.9 % with exponential and 6.0 % with log-normal ones (sigma 1). Rare
events are worse, 7 % at a rate of 5 %: they belong to `exceedance` and `two_rates`.

Never decides what to do. Imported by the controllers and `comparison_power`.

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, "Time-uniform central limit theory
and asymptotic confidence sequences", arXiv 2103.06476: theorem 2.2 for the interval, the appendix
on tuning for where it is tightest. The variance of a difference is that of its influence function,
var(candidate)/share + var(stable)/(1 - share). Moments merge as in Chan, Golub and LeVeque 1983.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.judging import errors, exceedance

# Values in each arm before an asymptotic interval is shown.
LEAST: Final = 200

# The interval is tightest when this many values have been seen, and little wider within a factor
# of ten on both sides.
TUNED_FOR: Final = 1000

MOST_NEEDED: Final = 10**12


@dataclass(frozen=True, slots=True)
class Moments:
    """How many values, their mean, and the sum of their squared distances from it."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def variance(self) -> float:
        """The unbiased variance; 0 with fewer than two values."""
        return self.squares / (self.n - 1) if self.n > 1 else 0.0

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of values together."""
        n = self.n + other.n
        if n == 0:
            return self
        apart = other.mean - self.mean
        return Moments(
            n,
            self.mean + apart * other.n / n,
            self.squares + other.squares + apart * apart * self.n * other.n / n,
        )


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean, or a difference of means, of `n` values, both arms together.

    `interval` is infinite until each arm has 200 values; `needed` is how many more values those
    are, and `needed_for` how many it takes to see a difference of a given size.
    """

    n: int
    effect: float
    interval: tuple[float, float]
    needed: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign of the effect is known."""
        low, high = self.interval
        return low > 0 or high < 0


def moments(values: Iterable[float]) -> Moments:
    """The moments of some values.

    Raises:
        CannotJudge: a value is infinite or not a number.
    """
    array = np.fromiter(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise errors.CannotJudge("a value is infinite or not a number: leave it out or correct it")
    if array.size == 0:
        return Moments()
    mean = float(array.mean())
    return Moments(array.size, mean, float(np.square(array - mean).sum()))


def mean(seen: Moments, alpha: float = exceedance.ALPHA, tuned_for: float = TUNED_FOR) -> Mean:
    """The mean of one sample.

    Raises:
        CannotJudge: `alpha` is no share.
    """
    errors.check_share("alpha", alpha)
    half = math.inf
    if seen.n >= LEAST:
        half = math.sqrt(seen.variance) * width(seen.n, alpha, tuned_for)
    return Mean(seen.n, seen.mean, (seen.mean - half, seen.mean + half), max(0, LEAST - seen.n))


def difference(
    candidate: Moments,
    stable: Moments,
    alpha: float = exceedance.ALPHA,
    tuned_for: float = TUNED_FOR,
) -> Mean:
    """The candidate's mean less stable's.

    Raises:
        CannotJudge: `alpha` is no share.
    """
    errors.check_share("alpha", alpha)
    n = candidate.n + stable.n
    effect = candidate.mean - stable.mean
    half = math.inf
    if min(candidate.n, stable.n) >= LEAST:
        half = _deviation(candidate, stable) * width(n, alpha, tuned_for)
    needed = max(0, LEAST - candidate.n) + max(0, LEAST - stable.n)
    return Mean(n, effect, (effect - half, effect + half), needed)


def needed_for(
    least: float,
    candidate: Moments,
    stable: Moments,
    alpha: float = exceedance.ALPHA,
    tuned_for: float = TUNED_FOR,
) -> int | None:
    """How many more values until the interval is at most `least` to either side.

    Both arms together, at the split and variances so far; None without a variance to go by, or
    where 10^12 would not do. A true difference of twice `least` is then almost surely seen.

    Raises:
        CannotJudge: `alpha` is no share, or `least` is not above 0.
    """
    errors.check_share("alpha", alpha)
    if not least > 0:
        raise errors.CannotJudge(f"the least difference is {least}: give one above 0")
    if min(candidate.n, stable.n) < 2:  # noqa: PLR2004 - a variance takes two values
        return None
    seen, deviation = candidate.n + stable.n, _deviation(candidate, stable)

    def enough(n: int) -> bool:
        return deviation * width(n, alpha, tuned_for) <= least

    if not enough(MOST_NEEDED):
        return None
    short, found = 0, MOST_NEEDED
    while found - short > 1:
        middle = (short + found) // 2
        short, found = (short, middle) if enough(middle) else (middle, found)
    smaller = min(candidate.n, stable.n) / seen
    return max(0, max(found, math.ceil(LEAST / smaller)) - seen)


def width(n: int, alpha: float, tuned_for: float) -> float:
    """Half of the interval after `n` values, in standard deviations of one value."""
    doubled = -2 * math.log(alpha)
    scale = (doubled + math.log(doubled + 1)) / tuned_for  # the square of their rho
    spread = n * scale + 1
    return math.sqrt(2 * spread / (n * n * scale) * math.log(math.sqrt(spread) / alpha))


def _deviation(candidate: Moments, stable: Moments) -> float:
    n = candidate.n + stable.n
    return math.sqrt(n * (candidate.variance / candidate.n + stable.variance / stable.n))
