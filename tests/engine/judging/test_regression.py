"""The four verdicts on a version: how often they are wrong, and what they cannot see."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from engine.judging import errors, paired_shares, regression
from engine.judging.regression import Grade

Bools = npt.NDArray[np.bool_]


def answers(
    rng: np.random.Generator, n: int, *, changed: float, drop: float
) -> tuple[Bools, Bools]:
    """Right and wrong of two versions that differ on a share of items, the second being worse."""
    draw = rng.random(n)
    lost, won = draw < (changed + drop) / 2, (draw >= (changed + drop) / 2) & (draw < changed)
    same = rng.random(n) < 0.8
    return np.where(lost, True, np.where(won, False, same)), np.where(
        won, True, np.where(lost, False, same)
    )


def grades(n: int, *, changed: float, drop: float, runs: int = 500) -> Counter[Grade]:
    """What simulated runs are called."""
    rng = np.random.default_rng(1)
    return Counter(
        regression.binary(
            *(each.tolist() for each in answers(rng, n, changed=changed, drop=drop))
        ).grade
        for _ in range(runs)
    )


def test_fifty_items_without_a_change_are_seldom_called_regressed() -> None:
    """500 runs at n = 50: the raw rule of 5 % alone fires in a fifth of them, this in under 6 %."""
    rng = np.random.default_rng(1)
    raw = 0
    for _ in range(500):
        before, after = answers(rng, 50, changed=0.2, drop=0)
        raw += before.mean() - after.mean() > 0.05
    assert 0.12 <= raw / 500 <= 0.24
    found = grades(50, changed=0.2, drop=0)
    assert found[Grade.REGRESSED] <= 0.06 * 500
    assert found[Grade.UNDERPOWERED] >= 0.4 * 500


def test_a_large_drop_is_regressed_and_none_is_ok_with_enough_items() -> None:
    """1000 items: 12 points are always found, and no change is passed in nine of ten runs."""
    assert grades(1000, changed=0.2, drop=0.12, runs=200)[Grade.REGRESSED] >= 198
    assert grades(1000, changed=0.1, drop=0, runs=200)[Grade.OK] >= 180


def test_a_drop_of_the_limit_is_hardly_ever_ok() -> None:
    """A true drop of 5 points passes in at most 5 % of runs, plus chance."""
    for n in (50, 200, 1000):
        assert grades(n, changed=0.15, drop=0.05, runs=300)[Grade.OK] <= 15 + 9


def test_the_smallest_detectable_drop_is_detected_in_four_of_five_runs() -> None:
    """Its size for 300 items with 20 % changed, then runs with exactly that drop."""
    rng = np.random.default_rng(2)
    before, after = answers(rng, 300, changed=0.2, drop=0)
    smallest = regression.binary(before.tolist(), after.tolist()).smallest_detectable
    found = grades(300, changed=0.2, drop=smallest, runs=400)
    assert 0.72 <= found[Grade.REGRESSED] / 400 <= 0.9


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_exact_test_is_the_binomial_one(lost: int, won: int) -> None:
    """One-sided McNemar is the binomial test of the changed items, as SciPy has it."""
    if lost + won == 0:
        assert paired_shares.mcnemar(0, 0) == 1.0
        return
    expected = scipy.stats.binomtest(lost, lost + won, alternative="greater").pvalue
    assert paired_shares.mcnemar(lost, won) == pytest.approx(float(expected))


def test_mcnemar_by_hand() -> None:
    """Eight lost and two won: (45 + 10 + 1) / 1024."""
    assert paired_shares.mcnemar(8, 2) == pytest.approx(56 / 1024)


@pytest.mark.parametrize(("lost", "won", "n"), [(12, 3, 60), (5, 9, 200), (1, 0, 25)])
def test_the_bounds_of_a_paired_drop_solve_tangos_equation(lost: int, won: int, n: int) -> None:
    """At each bound the score statistic, with the likelihood maximised by force, is 1.645."""

    def score(drop: float) -> float:
        def loss(share: float) -> float:
            return -(
                lost * math.log(share + drop)
                + (won * math.log(share) if won else 0)
                + (n - lost - won) * math.log(1 - 2 * share - drop)
            )

        start, end = max(1e-12, 1e-12 - drop), (1 - drop) / 2 - 1e-12
        best = float(
            scipy.optimize.minimize_scalar(
                loss, bounds=(start, end), method="bounded", options={"xatol": 1e-13}
            ).x
        )
        return (lost - won - n * drop) / math.sqrt(n * (2 * best + drop - drop * drop))

    low, high = paired_shares.difference(lost, won, n)
    assert score(low) == pytest.approx(1.6449, abs=2e-3)
    assert score(high) == pytest.approx(-1.6449, abs=2e-3)


def test_no_changed_item_is_no_proof_with_few_items() -> None:
    """With z²/(n + z²) as the bound 50 unchanged items do not exclude 5 points, and 60 do."""
    low, high = paired_shares.difference(0, 0, 50)
    assert high == pytest.approx(1.6449**2 / (50 + 1.6449**2), abs=1e-4)
    assert low == pytest.approx(-high)
    few = regression.binary([True] * 50, [True] * 50)
    assert few.grade is Grade.UNDERPOWERED
    assert few.smallest_detectable > 0.05
    assert regression.binary([True] * 60, [True] * 60).grade is Grade.OK


def test_the_items_that_flipped_are_named() -> None:
    """By their positions, those lost and those won."""
    seen = regression.binary([True, True, False, False], [True, False, True, False])
    assert (seen.worse, seen.better) == ((1,), (2,))
    assert (seen.baseline, seen.candidate, seen.effect) == (0.5, 0.5, 0)


@pytest.mark.parametrize(
    ("effect", "interval", "grade"),
    [
        (0.08, (0.02, 0.14), Grade.REGRESSED),
        (0.08, (-0.02, 0.2), Grade.SUSPECT),
        (0.03, (0.01, 0.04), Grade.SUSPECT),
        (0.01, (-0.02, 0.04), Grade.OK),
        (0.01, (-0.1, 0.1), Grade.UNDERPOWERED),
        (-0.2, (-0.3, -0.1), Grade.OK),
    ],
)
def test_the_grade_is_read_from_effect_and_bounds(
    effect: float, interval: tuple[float, float], grade: Grade
) -> None:
    """Each row of the rule, with a limit of 5 %."""
    assert regression._grade(effect, interval, 0.05) is grade


@pytest.mark.parametrize("quantile", [None, 0.95])
def test_the_bounds_of_a_ratio_hold_its_true_value(quantile: float | None) -> None:
    """60 runs of 80 items that cost 10 % more: each bound misses at most 5 %, plus chance."""
    rng = np.random.default_rng(3)
    below = above = 0
    for _ in range(60):
        before = rng.lognormal(0, 0.8, 80)
        after = before * 1.1 * rng.gamma(50, 1 / 50, 80)
        seen = (
            regression.quantile_ratio(before, after, quantile=quantile)
            if quantile
            else regression.mean_ratio(before, after)
        )
        below += seen.interval[0] > 0.1 + (0.002 if quantile else 0)
        above += seen.interval[1] < 0.1
    assert below <= 3 + 5
    assert above <= 3 + 5


def test_a_score_that_drops_is_regressed_and_one_that_does_not_is_ok() -> None:
    """Groundedness of 300 answers, a tenth lower and unchanged but for noise."""
    rng = np.random.default_rng(4)
    before = rng.beta(4, 2, 300)
    noise = rng.normal(0, 0.05, 300)
    lower = regression.scores(before, np.clip(before - 0.1 + noise, 0, 1))
    assert lower.grade is Grade.REGRESSED
    assert lower.interval[0] <= lower.effect <= lower.interval[1]
    assert regression.scores(before, np.clip(before + noise, 0, 1)).grade is Grade.OK


def test_a_slower_p95_is_regressed() -> None:
    """Half as slow again on 400 items, with the p95 of each run."""
    before = np.random.default_rng(5).lognormal(0, 0.8, 400)
    seen = regression.quantile_ratio(before, before * 1.5)
    assert seen.grade is Grade.REGRESSED
    assert seen.effect == pytest.approx(0.5)
    assert seen.candidate == pytest.approx(1.5 * seen.baseline)
    assert (seen.worse, seen.better) == ((), ())


def test_the_same_seed_gives_the_same_verdict() -> None:
    """A run that is judged again says the same."""
    rng = np.random.default_rng(6)
    before, after = rng.lognormal(0, 1, 60), rng.lognormal(0.1, 1, 60)
    assert regression.mean_ratio(before, after) == regression.mean_ratio(before, after)
    assert regression.mean_ratio(before, after) != regression.mean_ratio(before, after, seed=1)


def test_equal_amounts_and_few_items_have_no_warning() -> None:
    """Identical runs are ok with twenty items; with fewer nothing can be said."""
    assert regression.mean_ratio([2.0] * 20, [2.0] * 20).grade is Grade.OK
    few = regression.mean_ratio([2.0] * 19, [2.0] * 19)
    assert few.grade is Grade.UNDERPOWERED
    assert few.interval == (-math.inf, math.inf)
    assert regression.scores([0.5] * 25, [0.5] * 25).grade is Grade.UNDERPOWERED


def test_runs_that_cannot_be_paired_are_refused() -> None:
    """Other numbers of items, none, a missing value, a score of 7, an amount of 0."""
    for call, (before, after) in product(
        (regression.scores, regression.mean_ratio, regression.quantile_ratio),
        (([1.0], [1.0, 0.5]), ([], []), ([1.0], [math.nan])),
    ):
        with pytest.raises(errors.CannotJudge):
            call(before, after)
    with pytest.raises(errors.CannotJudge, match="scale"):
        regression.scores([7.0], [1.0])
    with pytest.raises(errors.CannotJudge, match="above 0"):
        regression.mean_ratio([0.0], [1.0])
