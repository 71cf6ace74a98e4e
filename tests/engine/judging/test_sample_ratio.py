"""A split that is filled otherwise than it was set is unhealthy; one that is not is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from engine.judging import errors, sample_ratio
from engine.traffic import routing
from storage import sticky_buckets

WEIGHTS = {"stable": 9000, "a": 600, "b": 400}


@given(st.floats(0, 200), st.integers(1, 9))
def test_the_tail_is_scipys(chi_squared: float, freedom: int) -> None:
    """The finite sum agrees with the incomplete gamma function, for two to ten arms."""
    expected = float(scipy.stats.chi2.sf(chi_squared, freedom))
    assert sample_ratio.tail(chi_squared, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_a_published_mismatch_is_found() -> None:
    """821,588 against 815,482 units at one half each: p = 1.8e-6 (Kohavi, Tang and Xu 2020)."""
    seen = sample_ratio.check({"a": 821_588, "b": 815_482}, {"a": 1, "b": 1})
    assert seen.p_value == pytest.approx(1.8e-6, rel=0.05)
    assert not seen.healthy


def test_three_arms_by_hand() -> None:
    """0.5 + 1.633 + 0.2: 100 units against 50 %, 30 % and 20 %, two degrees of freedom."""
    seen = sample_ratio.check({"a": 55, "b": 23, "c": 22}, {"a": 50, "b": 30, "c": 20})
    assert seen.chi_squared == pytest.approx(0.5 + 49 / 30 + 0.2)
    assert seen.p_value == pytest.approx(float(np.exp(-seen.chi_squared / 2)))
    assert seen.healthy
    assert [arm.expected for arm in seen.arms] == [50, 30, 20]


def test_one_in_a_thousand_healthy_splits_is_marked() -> None:
    """20,000 splits of 3000 units into three arms."""
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(3000, [0.9, 0.06, 0.04], 20_000)
    marked = sum(
        not sample_ratio.check(dict(zip(WEIGHTS, map(int, row), strict=True)), WEIGHTS).healthy
        for row in drawn
    )
    assert 5 <= marked <= 45


def test_an_arm_that_loses_a_tenth_of_its_units_is_found() -> None:
    """50,000 units, and the smallest arm records nine in ten of its own."""
    rng = np.random.default_rng(2)
    stable, a, b = map(int, rng.multinomial(50_000, [0.9, 0.06, 0.04]))
    assert sample_ratio.check({"stable": stable, "a": a, "b": b}, WEIGHTS).healthy
    assert not sample_ratio.check({"stable": stable, "a": a, "b": b * 9 // 10}, WEIGHTS).healthy


def test_units_are_counted_because_requests_are_not_independent() -> None:
    """The real assignment with busy units: healthy by units, far off by requests."""
    split = {1: 9000, 2: 1000}
    ranges = sticky_buckets.lay_out(split)
    units = {1: 0, 2: 0}
    requests = {1: 0, 2: 0}
    for number, busy in enumerate(np.random.default_rng(3).pareto(1.1, 3000)):
        arm = routing.assign(ranges, "salt", f"user-{number}").release
        units[arm] += 1
        requests[arm] += 1 + int(busy * 10)
    weights = {str(arm): weight for arm, weight in split.items()}
    by_unit = sample_ratio.check({str(arm): n for arm, n in units.items()}, weights)
    by_request = sample_ratio.check({str(arm): n for arm, n in requests.items()}, weights)
    assert by_unit.healthy
    assert not by_request.healthy


def test_too_few_units_are_no_verdict() -> None:
    """An arm of 4 % expects five units of 125: until then healthy, and it says how many more."""
    seen = sample_ratio.check({"b": 60}, WEIGHTS)
    assert (seen.p_value, seen.healthy, seen.needed) == (None, True, 65)
    assert sample_ratio.check({}, WEIGHTS).needed == 125


def test_a_unit_on_an_arm_without_weight_is_unhealthy_at_once() -> None:
    """Weight 0 means none, not little."""
    seen = sample_ratio.check({"a": 3, "b": 1}, {"a": 10_000, "b": 0})
    assert not seen.healthy
    assert sample_ratio.check({"a": 3}, {"a": 10_000, "b": 0}).healthy


@pytest.mark.parametrize(
    ("units", "weights"),
    [({"a": 1}, {"b": 1}), ({"a": -1}, {"a": 1}), ({"a": 1}, {"a": 0}), ({}, {})],
)
def test_impossible_splits_are_refused(units: dict[str, int], weights: dict[str, int]) -> None:
    """A count without a weight, a negative one, no weight at all: an error."""
    with pytest.raises(errors.CannotJudge, match="give"):
        sample_ratio.check(units, weights)
