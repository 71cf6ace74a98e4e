"""Means and their differences: covered at every look, and tight where they were tuned to be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.judging import confidence_sequence, errors
from engine.judging.confidence_sequence import Moments

Array = npt.NDArray[np.float64]
VALUES = st.lists(st.floats(-1e6, 1e6), max_size=50)


def running(values: Array, taken: npt.NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Count, mean and variance of the values taken so far, at each position of each row."""
    n = np.maximum(taken.cumsum(axis=1), 2).astype(float)
    mean = (values * taken).cumsum(axis=1) / n
    variance = np.maximum((values * values * taken).cumsum(axis=1) / n - mean * mean, 0)
    return n, mean, variance * n / (n - 1)


def widths(looks: int) -> Array:
    """The half widths in standard deviations after 1..looks values."""
    return np.array([confidence_sequence.width(n, 0.05, 1000) for n in range(1, looks + 1)])


@pytest.mark.parametrize(
    ("draw", "most"),
    [
        (lambda rng, shape: rng.normal(0, 3, shape), 0.05),
        (lambda rng, shape: rng.exponential(2, shape) - 2, 0.06),
        (lambda rng, shape: rng.lognormal(0, 1, shape) - math.exp(0.5), 0.07),
    ],
    ids=["normal", "exponential", "log-normal"],
)
def test_a_mean_is_covered_at_every_look(
    draw: Callable[[np.random.Generator, tuple[int, int]], Array], most: float
) -> None:
    """800 runs, looked at after every value from 200 to 3000; nominally 5 % ever miss."""
    values = draw(np.random.default_rng(1), (800, 3000))
    _, mean, variance = running(values, np.ones_like(values, dtype=bool))
    missed = np.abs(mean) > np.sqrt(variance) * widths(3000)
    assert missed[:, confidence_sequence.LEAST - 1 :].any(axis=1).mean() <= most


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_difference_is_covered_at_every_look_and_split(share: float) -> None:
    """800 runs of equal arms, one with five times the spread, at 50 % and at 10 %."""
    rng = np.random.default_rng(2)
    arm = rng.random((800, 3000)) < share
    values = rng.exponential(1, arm.shape) * np.where(arm, 5, 1) - np.where(arm, 5, 1)
    candidate_n, candidate, candidate_variance = running(values, arm)
    stable_n, stable, stable_variance = running(values, ~arm)
    n = np.arange(1, 3001)
    half = widths(3000) * np.sqrt(
        n * (candidate_variance / candidate_n + stable_variance / stable_n)
    )
    shown = np.minimum(candidate_n, stable_n) >= confidence_sequence.LEAST
    missed = (np.abs(candidate - stable) > half) & shown
    assert missed.any(axis=1).mean() <= 0.06
    place = (0, 2999)
    seen = confidence_sequence.difference(
        confidence_sequence.moments(values[0][arm[0]]),
        confidence_sequence.moments(values[0][~arm[0]]),
    )
    assert seen.interval[1] - seen.effect == pytest.approx(half[place])


def test_the_width_is_the_published_one() -> None:
    """Theorem 2.2 with alpha 5 % at t = 100 and rho² = 0.1: 2·11/1000·log(√11/0.05), by hand."""
    doubled = -2 * math.log(0.05)
    tuned = (doubled + math.log(doubled + 1)) / 0.1
    by_hand = math.sqrt(2 * 11 / (100 * 100 * 0.1) * math.log(math.sqrt(11) / 0.05))
    assert confidence_sequence.width(100, 0.05, tuned) == pytest.approx(by_hand)


def test_the_interval_is_tightest_where_it_was_tuned() -> None:
    """At 1000 values no tuning is more than a twentieth tighter, and z is still tighter."""
    tuned = {
        where: confidence_sequence.width(1000, 0.05, where)
        for where in (100, 500, 1000, 2000, 9000)
    }
    assert min(tuned.values()) == pytest.approx(tuned[1000], rel=0.05)
    assert tuned[1000] > 1.96 / math.sqrt(1000)


@given(VALUES, VALUES)
def test_moments_merge_exactly(one: list[float], other: list[float]) -> None:
    """Those of two parts together are those of the whole, in either order."""
    whole = confidence_sequence.moments([*one, *other])
    a, b = confidence_sequence.moments(one), confidence_sequence.moments(other)
    for merged in (a.merged(b), b.merged(a)):
        assert merged.n == whole.n
        assert merged.mean == pytest.approx(whole.mean, abs=1e-6)
        assert merged.squares == pytest.approx(whole.squares, rel=1e-6, abs=1e-3)


def test_moments_keep_small_spread_on_a_large_mean() -> None:
    """A millionth around a billion: sums of squares would have lost it."""
    values = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
    parts = confidence_sequence.moments(values[:1]).merged(confidence_sequence.moments(values[1:]))
    assert parts.variance == pytest.approx(5 / 3, rel=1e-6)


def test_what_is_still_needed_is_enough_and_not_too_much() -> None:
    """After that many more values at the same variances the half width is what was asked."""
    candidate, stable = Moments(300, 1.0, 299 * 4.0), Moments(900, 1.0, 899 * 1.0)
    more = confidence_sequence.needed_for(0.1, candidate, stable)
    assert more is not None
    factor = (1200 + more) / 1200
    seen = confidence_sequence.difference(
        Moments(round(300 * factor), 1.0, (300 * factor - 1) * 4.0),
        Moments(round(900 * factor), 1.0, (900 * factor - 1) * 1.0),
    )
    assert seen.interval[1] - seen.effect == pytest.approx(0.1, rel=0.01)


def test_nothing_is_said_of_few_values() -> None:
    """Under 200 in an arm the interval is infinite, and it says how many are missing."""
    seen = confidence_sequence.difference(Moments(150, 9, 1), Moments(5000, 0, 1))
    assert seen.interval == (-math.inf, math.inf)
    assert not seen.excludes_zero
    assert seen.needed == 50
    assert confidence_sequence.needed_for(0.1, Moments(1), Moments(900, 0, 9)) is None


def test_a_clear_difference_excludes_zero_on_its_side() -> None:
    """Ten against nine with a spread of one, after 1000 each."""
    seen = confidence_sequence.difference(Moments(1000, 10, 999), Moments(1000, 9, 999))
    assert seen.excludes_zero
    assert seen.interval[0] > 0.8
    assert confidence_sequence.mean(Moments(1000, 10, 999)).interval[0] > 9.8


def test_values_that_are_none_are_refused() -> None:
    """A missing measurement is left out by the caller, not averaged."""
    for value in (math.nan, math.inf):
        with pytest.raises(errors.CannotJudge, match="leave it out"):
            confidence_sequence.moments([1.0, value])
    with pytest.raises(errors.CannotJudge, match="above 0"):
        confidence_sequence.needed_for(0, Moments(), Moments())
