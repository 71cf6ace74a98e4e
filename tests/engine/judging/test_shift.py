"""The shift between two samples: exact beside brute force, with ties and at full size."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from engine.judging import errors, shift
from engine.judging.shift import Direction

# Coarse values tie, fine ones do not.
SAMPLES = st.one_of(
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=40),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
)


def all_differences(candidate: npt.ArrayLike, stable: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What the module never makes: every difference, sorted."""
    return np.sort(np.subtract.outer(np.asarray(candidate), np.asarray(stable)).ravel())


@given(SAMPLES, SAMPLES, st.floats(0, 1))
def test_any_ranked_difference_is_that_of_brute_force(
    candidate: list[float], stable: list[float], place: float
) -> None:
    """Selected by counting, equal to the sorted list of all differences."""
    differences = all_differences(candidate, stable)
    rank = 1 + int(place * (differences.size - 1))
    found = shift.difference_at(
        shift.counted("candidate", candidate), shift.counted("stable", stable), rank
    )
    assert found == pytest.approx(differences[rank - 1], rel=1e-9, abs=1e-6)


@given(SAMPLES, SAMPLES)
def test_the_shift_is_the_median_difference_and_the_test_is_scipys(
    candidate: list[float], stable: list[float]
) -> None:
    """Hodges–Lehmann by brute force; the p-value with ties and continuity as SciPy has it."""
    seen = shift.compare(candidate, stable)
    median = float(np.median(all_differences(candidate, stable)))
    assert seen.shift == pytest.approx(median, rel=1e-9, abs=1e-6)
    scipys = scipy.stats.mannwhitneyu(candidate, stable, method="asymptotic")
    assert seen.superiority == pytest.approx(scipys.statistic / len(candidate) / len(stable))
    if len({*candidate, *stable}) > 1:
        assert seen.p_value == pytest.approx(float(scipys.pvalue), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("decimals", [6, 1])
def test_two_hundred_thousand_values_take_little_memory(decimals: int) -> None:
    """10^10 pairs, with ties and without, in under 100 MB; the shift is the true one."""
    rng = np.random.default_rng(1)
    stable = np.round(rng.lognormal(0, 1, 100_000), decimals)
    candidate = np.round(rng.lognormal(0, 1, 100_000) + 0.3, decimals)
    tracemalloc.start()
    seen = shift.compare(candidate, stable)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000
    assert seen.shift == pytest.approx(0.3, abs=0.02)
    assert seen.direction is Direction.LARGER


@pytest.mark.parametrize(("candidate_n", "stable_n"), [(25, 25), (30, 300)])
def test_the_interval_covers_the_true_shift(candidate_n: int, stable_n: int) -> None:
    """500 skewed samples: 95 % nominally, less three standard errors."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(500):
        seen = shift.compare(rng.lognormal(0, 1, candidate_n) + 0.3, rng.lognormal(0, 1, stable_n))
        covered += seen.interval[0] <= 0.3 <= seen.interval[1]
    assert covered / 500 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 500)


def test_the_interval_of_two_small_samples_by_hand() -> None:
    """20 values each, 1..20 against the same plus 10: rank 128 of 400 differences, z = 1.96."""
    stable = np.arange(1, 21)
    seen = shift.compare(stable + 10, stable)
    rank = math.floor(200 - 1.959964 * math.sqrt(400 * 41 / 12))
    differences = all_differences(stable + 10, stable)
    assert seen.interval == (differences[rank - 1], differences[400 - rank])
    assert seen.shift == 10


@pytest.mark.parametrize(
    ("moved", "least", "direction"),
    [
        (0.5, 0.1, Direction.LARGER),
        (-0.5, 0.1, Direction.SMALLER),
        (0.0, 0.2, Direction.SAME),
        (0.2, 0.2, Direction.UNDECIDED),
        (0.5, 0.5, Direction.UNDECIDED),
    ],
)
def test_the_direction_is_where_the_interval_is_beside_the_least_effect(
    moved: float, least: float, direction: Direction
) -> None:
    """Entirely beyond it, entirely within it, or neither."""
    rng = np.random.default_rng(3)
    seen = shift.compare(rng.normal(moved, 1, 2000), rng.normal(0, 1, 2000), least=least)
    assert seen.direction is direction
    assert (seen.needed == 0) == (direction is not Direction.UNDECIDED)


def test_outliers_do_not_move_it() -> None:
    """A request that hung for an hour is one value above the others."""
    stable = np.linspace(1, 2, 500)
    hung = np.concatenate([stable, [3600.0] * 5])
    assert shift.compare(hung, stable).shift == pytest.approx(0, abs=0.01)


def test_what_is_still_needed_decides() -> None:
    """With that many values, the same ones again, the direction is known."""
    rng = np.random.default_rng(4)
    candidate, stable = rng.normal(0.2, 1, 200), rng.normal(0, 1, 200)
    seen = shift.compare(candidate, stable, least=0.05)
    assert seen.direction is Direction.UNDECIDED
    assert seen.needed is not None
    times = math.ceil((400 + seen.needed) / 400)
    later = shift.compare(np.tile(candidate, times), np.tile(stable, times), least=0.05)
    assert later.direction is Direction.LARGER


def test_few_values_and_constant_ones_are_undecided() -> None:
    """Under 20 in an arm no direction; where nothing differs, no shift and no division by zero."""
    few = shift.compare([9.0] * 5, [1.0] * 400)
    assert few.direction is Direction.UNDECIDED
    assert few.needed == 15
    same = shift.compare([1.0] * 50, [1.0] * 50, least=0.1)
    assert same.direction is Direction.SAME
    assert same.p_value == 1.0
    assert same.shift == 0.0


def test_values_that_are_none_are_refused() -> None:
    """An empty arm, an infinity, a negative least effect."""
    for candidate in ([], [math.nan], [math.inf]):
        with pytest.raises(errors.CannotJudge, match="candidate"):
            shift.compare(candidate, [1.0])
    with pytest.raises(errors.CannotJudge, match="give 0 or more"):
        shift.compare([1.0], [1.0], least=-1)
