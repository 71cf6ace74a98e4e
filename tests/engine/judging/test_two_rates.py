"""Candidate against stable: valid at every look and split, and quick to find a difference."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.judging import errors, two_rates
from engine.judging.two_rates import Block, Side

RATES = st.floats(0.001, 0.999)


def evidence(
    candidate: float | npt.NDArray[np.float64],
    stable: float | npt.NDArray[np.float64],
    sizes: npt.NDArray[np.int64],
    *,
    side: Side = Side.HIGHER,
    seed: int = 1,
    runs: int = 1000,
) -> npt.NDArray[np.float64]:
    """The logarithm of the e-value after each block of each simulated run.

    `sizes` has a row (candidate, stable) for each block; a rate may differ from block to block.
    """
    rng = np.random.default_rng(seed)
    shape = (runs, len(sizes))
    candidate_n, stable_n = (np.broadcast_to(column, shape).astype(float) for column in sizes.T)
    logs = two_rates.log_ratios(
        candidate_n,
        rng.binomial(sizes[:, 0], candidate, shape).astype(float),
        stable_n,
        rng.binomial(sizes[:, 1], stable, shape).astype(float),
        expected=0.01,
        side=side,
    )
    summed: npt.NDArray[np.float64] = np.logaddexp.reduce(np.cumsum(logs, axis=-1), axis=0)
    return summed - math.log(len(logs))


def rejected(logs: npt.NDArray[np.float64]) -> float:
    """The share of runs whose e-value ever reached 20."""
    return float((logs >= math.log(20)).any(axis=1).mean())


SPLITS = {
    "1 to 19": np.tile([1, 19], (400, 1)),
    "half": np.tile([10, 10], (400, 1)),
    "5 %, 25 %, 50 %": np.repeat([[1, 19], [5, 15], [10, 10]], 150, axis=0),
}


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("split", SPLITS)
def test_peeking_after_every_block_finds_no_difference_where_there_is_none(
    split: str, side: Side
) -> None:
    """1000 runs of two equal arms: at most 5 % ever reach 20, at any split, fixed or in steps."""
    assert rejected(evidence(0.01, 0.01, SPLITS[split], side=side)) <= 0.05


def test_a_rate_that_moves_for_both_arms_is_no_evidence() -> None:
    """Both arms fail ten times as often for a while, and the split changes at the same time."""
    rate = np.repeat([0.01, 0.1, 0.02], 150)
    logs = evidence(rate, rate, SPLITS["5 %, 25 %, 50 %"], side=Side.EITHER)
    assert rejected(logs) <= 0.05


def test_a_better_candidate_is_not_called_worse() -> None:
    """The one-sided test holds its level for every candidate that is at most as bad."""
    assert rejected(evidence(0.01, 0.02, SPLITS["half"])) <= 0.01


@pytest.mark.parametrize(
    ("candidate", "split", "median"),
    [(0.05, "1 to 19", 83), (0.05, "half", 200), (0.3, "1 to 19", 6)],
)
def test_a_worse_candidate_is_found(candidate: float, split: str, median: int) -> None:
    """Candidate requests until half of the runs have found it, against a stable rate of 1 %."""
    reached = evidence(candidate, 0.01, SPLITS[split]) >= math.log(20)
    assert reached.any(axis=1).mean() >= 0.98
    looks = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, math.inf)
    requests = looks * SPLITS[split][0, 0]
    assert np.median(requests) == pytest.approx(median, rel=0.2)


@given(RATES, RATES, st.integers(0, 4), st.integers(0, 4), RATES, st.sampled_from(Side))
def test_a_block_is_worth_at_most_one_on_average_when_the_arms_are_equal(
    rate: float, below: float, candidate_n: int, stable_n: int, expected: float, side: Side
) -> None:
    """All outcomes of one block, weighted with their chances; one-sided, also for a better arm."""
    candidate = rate if side is Side.EITHER else _no_worse(rate, below, side)
    mean = math.fsum(
        _chance(candidate_n, candidate_events, candidate)
        * _chance(stable_n, stable_events, rate)
        * two_rates.compare(
            [Block(candidate_n, candidate_events, stable_n, stable_events)],
            expected=expected,
            side=side,
        ).e_value
        for candidate_events, stable_events in product(range(candidate_n + 1), range(stable_n + 1))
    )
    assert mean <= 1 + 1e-9


def _no_worse(rate: float, share: float, side: Side) -> float:
    return rate * share if side is Side.HIGHER else rate + (1 - rate) * share


def _chance(n: int, events: int, rate: float) -> float:
    return math.comb(n, events) * rate**events * (1 - rate) ** (n - events)


def test_one_block_is_the_likelihood_ratio_against_the_weighted_mean() -> None:
    """A candidate's failure beside three good stable answers, by hand, with 1 % expected."""
    by_hand = 0.0
    for factor in (1.5, 2, 3, 5, 8, 12, 20):
        odds = factor * 0.01 / 0.99
        candidate = odds / (1 + odds)
        mean = (candidate + 3 * 0.01) / 4
        by_hand += candidate / mean * (0.99 / (1 - mean)) ** 3 / 7
    assert two_rates.compare([Block(1, 1, 3, 0)]).e_value == pytest.approx(by_hand)


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 4), max_size=20))
def test_an_arm_alone_is_no_evidence(counts: list[tuple[int, int, int, int]]) -> None:
    """Blocks in which only one arm was asked leave the e-value at 1."""
    blocks = [
        Block(n + events, events, 0, 0) if number % 2 else Block(0, 0, n + events, events)
        for number, (n, events, _, _) in enumerate(counts)
    ]
    assert two_rates.compare(blocks).e_value == pytest.approx(1)


def test_the_intervals_hold_the_differences_at_every_look() -> None:
    """100 runs at 5 % against 2 %, looked at eight times: at most 5 % ever miss, plus chance."""
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(100):
        candidate, stable = rng.binomial(50, 0.05, 8), rng.binomial(450, 0.02, 8)
        for looks in range(1, 9):
            seen = two_rates.compare(
                [
                    Block(
                        50 * looks,
                        int(candidate[:looks].sum()),
                        450 * looks,
                        int(stable[:looks].sum()),
                    )
                ]
            )
            low, high = seen.difference_interval
            least, most = seen.ratio_interval
            if not (low <= 0.03 <= high and least <= 2.5 <= most):
                missed += 1
                break
    assert missed <= 5 + 2.33 * math.sqrt(100 * 0.05 * 0.95)


def test_what_is_still_needed_is_needed() -> None:
    """At the same rates and split the e-value reaches 20 near the promised request."""
    block = Block(20, 1, 380, 7)
    seen = two_rates.compare([block] * 5)
    assert not seen.reached
    assert seen.needed is not None
    more = math.ceil(seen.needed / 400)
    assert two_rates.compare([block] * (5 + 2 * more)).reached
    assert not two_rates.compare([block] * (5 + more // 2)).reached


def test_nothing_is_needed_where_it_is_reached_and_nothing_helps_an_equal_candidate() -> None:
    """0 requests after the decision; None where the arms do not differ."""
    assert two_rates.compare([Block(50, 20, 50, 0)] * 4).needed == 0
    assert two_rates.compare([Block(50, 1, 50, 1)] * 4).needed is None


def test_no_block_is_no_evidence() -> None:
    """Everything is possible, and nothing is divided by zero."""
    seen = two_rates.compare([])
    assert seen.e_value == 1.0
    assert seen.ratio is None
    assert seen.needed is None
    assert seen.difference_interval == (-1.0, 1.0)
    assert seen.ratio_interval == (0.0, math.inf)


@pytest.mark.parametrize("block", [Block(1, 2, 1, 0), Block(1, 0, 1, 2), Block(-1, 0, 1, 0)])
def test_impossible_blocks_are_refused(block: Block) -> None:
    """More events than requests: an error, never a verdict."""
    with pytest.raises(errors.CannotJudge):
        two_rates.compare([block])
