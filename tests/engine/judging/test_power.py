"""What a plan promises is what simulated rollouts do."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from engine.judging import (
    comparison_power,
    confidence_sequence,
    errors,
    exceedance,
    power,
    shift,
    two_rates,
)
from engine.judging.shift import Direction


def aborted_after(
    rate: float, allowed: float, looks: int, rollouts: int = 2000
) -> npt.NDArray[np.float64]:
    """After how many requests each rollout was aborted, asked after every one of them."""
    fewest, bounds = 0, []
    for n in range(1, looks + 1):
        while fewest <= n and exceedance.log_harm(n, fewest, allowed) < math.log(20):
            fewest += 1
        bounds.append(fewest)
    events = np.random.default_rng(9).random((rollouts, looks)) < rate
    reached = np.cumsum(events, axis=1) >= np.asarray(bounds)
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


@pytest.mark.parametrize(("allowed", "requests"), [(0.01, 360), (0.05, 400), (0.001, 2000)])
def test_a_rate_said_to_be_found_is_found_in_four_rollouts_of_five(
    allowed: float, requests: int
) -> None:
    """And one said to be missed is missed in four of five; asking more often helps a little."""
    promise = power.rates(allowed, requests)
    assert promise.found is not None
    assert promise.missed is not None
    found = np.isfinite(aborted_after(promise.found, allowed, requests)).mean()
    missed = np.isfinite(aborted_after(promise.missed, allowed, requests)).mean()
    assert 0.77 <= found <= 0.86
    assert 0.17 <= missed <= 0.26


def test_the_wait_for_an_abort_is_the_simulated_one() -> None:
    """True 5 % with 1 % allowed: median, 80 % and the chance within 300 requests."""
    after = aborted_after(0.05, 0.01, 300)
    promise = power.wait(0.05, 0.01, 300)
    assert promise.chance == pytest.approx(np.isfinite(after).mean(), abs=0.03)
    assert promise.median_n == pytest.approx(np.quantile(after, 0.5), rel=0.1)
    assert promise.most_n == pytest.approx(np.quantile(after, 0.8), rel=0.1)


def test_the_wait_at_the_allowed_rate_is_a_false_abort() -> None:
    """Under 5 %, and so never half of the rollouts."""
    promise = power.wait(0.01, 0.01, 3000)
    assert 0.01 <= promise.chance <= 0.05
    assert promise.median_n is None


@pytest.mark.parametrize(
    ("stable_rate", "candidate_n", "stable_n"), [(0.02, 100, 1900), (0.05, 500, 500)]
)
def test_a_rate_said_to_be_found_against_stable_is(
    stable_rate: float, candidate_n: int, stable_n: int
) -> None:
    """1500 other rollouts in blocks of another size."""
    promise = comparison_power.against_stable(stable_rate, candidate_n, stable_n)
    assert promise.found is not None
    rng = np.random.default_rng(10)
    shape = (1500, 50)
    candidate, stable = candidate_n / 50, stable_n / 50
    logs = two_rates.log_ratios(
        np.full(shape, candidate),
        rng.binomial(int(candidate), promise.found, shape).astype(float),
        np.full(shape, stable),
        rng.binomial(int(stable), stable_rate, shape).astype(float),
        expected=stable_rate,
        side=two_rates.Side.HIGHER,
    )
    summed = np.logaddexp.reduce(np.cumsum(logs, axis=-1), axis=0) - math.log(len(logs))
    assert 0.74 <= (summed >= math.log(20)).any(axis=1).mean() <= 0.86


def test_a_shift_said_to_be_found_is() -> None:
    """400 pairs of samples drawn again from the measured latencies, with a least effect."""
    rng = np.random.default_rng(11)
    measured = rng.lognormal(0, 1, 4000)
    promise = comparison_power.shifts(measured, 60, 600, least=0.1)
    assert promise.found is not None
    larger = sum(
        shift.compare(
            rng.choice(measured, 60) + promise.found, rng.choice(measured, 600), least=0.1
        ).direction
        is Direction.LARGER
        for _ in range(400)
    )
    assert 0.73 <= larger / 400 <= 0.87


def test_a_difference_of_means_said_to_be_found_is() -> None:
    """1000 pairs of samples, judged once at their end."""
    rng = np.random.default_rng(12)
    promise = comparison_power.means(2.0, 1.0, 300, 900)
    assert promise.found is not None
    found = sum(
        confidence_sequence.difference(
            confidence_sequence.moments(rng.normal(promise.found, 2, 300)),
            confidence_sequence.moments(rng.normal(0, 1, 900)),
        ).excludes_zero
        for _ in range(1000)
    )
    assert 0.76 <= found / 1000 <= 0.84


def test_a_step_is_told_in_seconds() -> None:
    """Two requests a second, 5 % for an hour: 360 requests, and 299 clean ones take 2990 s."""
    hour = power.step(2.0, 0.05, 3600, 0.01)
    assert hour.requests == 360
    assert hour.safe_after_s == pytest.approx(2990)
    assert hour.passes
    assert hour.rates.found == pytest.approx(0.035, abs=0.002)
    assert not power.step(2.0, 0.05, 600, 0.01).passes


def test_more_traffic_finds_smaller_harm() -> None:
    """Each tenfold of requests lowers the rate that is found."""
    found = [power.rates(0.01, requests).found or 1.0 for requests in (10, 100, 1000, 10_000)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 4


def test_a_step_of_a_day_on_a_busy_service_is_planned_without_counting_every_request() -> None:
    """4 million requests: what 50,000 find is promised, not more."""
    day = power.step(50, 1.0, 86_400, 0.01)
    assert day.requests == 4_320_000
    assert day.rates == power.rates(0.01, 50_001)


def test_where_nothing_can_be_found_it_says_so() -> None:
    """One request decides nothing; neither does an empty arm or a handful of latencies."""
    nothing = power.Range(None, None)
    assert power.rates(0.01, 1) == nothing
    assert power.rates(0.01, 0) == nothing
    assert comparison_power.against_stable(0.01, 0, 500) == nothing
    assert comparison_power.shifts([1.0, 2.0], 5, 500) == nothing
    assert comparison_power.means(1, 1, 10, 10) == nothing
    assert power.wait(0.5, 0.01, 0) == power.Wait(0.0, None, None)


def test_passing_a_clean_candidate_takes_the_fewest_requests() -> None:
    """299 at a true 0; more with events; never at or above the allowed rate."""
    assert power.safe_requests(0, 0.01) == 299
    a_fifth = power.safe_requests(0.002, 0.01)
    assert a_fifth is not None
    assert 1000 <= a_fifth <= 3000
    assert power.safe_requests(0.01, 0.01) is None
    assert power.safe_requests(0.0095, 0.01) is None


def test_as_many_clean_candidates_pass_by_then_as_it_says() -> None:
    """Simulated, and asked after every request; it says 80 of 100."""
    random = np.random.default_rng(20261127)
    for rate in (0.001, 0.004):
        requests = power.safe_requests(rate, 0.01)
        assert requests is not None
        seen = np.cumsum(random.random((600, requests)) < rate, axis=1)
        most, passing = np.full(requests, -1), -1
        for n in range(1, requests + 1):
            while exceedance.log_safety(n, passing + 1, 0.01) >= math.log(20):
                passing += 1
            most[n - 1] = passing
        assert 0.76 <= (seen <= most).any(axis=1).mean() <= 0.86


def test_impossible_plans_are_refused() -> None:
    """No traffic, no duration, a weight over 1."""
    for traffic, weight, duration in ((0, 0.1, 60), (1, 0, 60), (1, 1.1, 60), (1, 0.1, 0)):
        with pytest.raises(errors.CannotJudge, match="give"):
            power.step(traffic, weight, duration, 0.01)


@pytest.mark.parametrize("values", [(30_000, 31_000, 60_000), (7,), (5, 5, 5)])
def test_a_shift_of_few_measured_values_is_planned(values: tuple[int, ...]) -> None:
    """Any shift, however small, may reorder them all: the search for the smallest ends."""
    found = comparison_power.shifts(values, 150, 1350, least=1000.0).found
    assert found is not None
    assert found >= 1000.0
