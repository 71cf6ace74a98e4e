"""Whether a version is worse than its baseline on the same items of an evaluation suite.

Items are paired: position i of both sides is one item. An effect above 0 is worse: a drop of
correct answers or scores, in points (0.05 is 5 percentage points), or a rise of time or cost, as a
share of the baseline's (0.05 is 5 % more). Each bound of an interval holds with a confidence of
95 % by itself. The grade holds effect and bounds against a limit, 5 % unless another is given:

    regressed      the effect is above the limit, and its lower bound above 0
    suspect        one of the two
    ok             the upper bound is below the limit
    underpowered   none of these: `smallest_detectable` is what such a run can find

Never runs an evaluation and never retries one. Assumed: items are a sample of what matters and do
not influence each other; repeated samples of one prompt are one item, with their mean as its score.
Imported by evaluation and the gate for CI. SciPy is loaded at the first bootstrap.

Sources: `paired_shares` for binary items; bootstrap BCa (Efron 1987, "Better bootstrap confidence
intervals") as SciPy has it, and the plain percentile one for quantiles, whose jackknife, on which
BCa rests, is inconsistent (Efron and Tibshirani 1993, section 11.6).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.judging import errors, paired_shares

LIMIT: Final = 0.05
CHANCE: Final = 0.8  # with which the smallest detectable effect would be called regressed
RESAMPLES: Final = 1999
VALUES_AT_ONCE: Final = 2_000_000  # of a bootstrap, in memory

# The bounds of a bootstrap of fewer items are too narrow.
LEAST: Final = 20

# So are those of scores with fewer changed items: they are then at least as wide as those of a run
# in which no item changed.
FEW_CHANGED: Final = 10

Floats = npt.NDArray[np.float64]


class Grade(StrEnum):
    """The four answers; only `ok` is a pass."""

    REGRESSED = "regressed"
    SUSPECT = "suspect"
    OK = "ok"
    UNDERPOWERED = "underpowered"


@dataclass(frozen=True, slots=True)
class Regression:
    """One metric of two runs over the same `n` items.

    `baseline` and `candidate` are the metric's values, `effect` how much worse the candidate is,
    `interval` its bounds. `p_value` is that of the one-sided exact test of binary items, None
    otherwise. `worse` and `better` are the positions of items that changed, for showing them;
    empty for quantiles.
    """

    grade: Grade
    n: int
    baseline: float
    candidate: float
    effect: float
    interval: tuple[float, float]
    limit: float
    smallest_detectable: float
    p_value: float | None
    worse: tuple[int, ...]
    better: tuple[int, ...]


def binary(
    baseline: Sequence[bool], candidate: Sequence[bool], *, limit: float = LIMIT
) -> Regression:
    """Items that are right or wrong, True being right.

    Raises:
        CannotJudge: no items, unequal numbers of them, or an impossible limit.
    """
    before, after = _paired(baseline, candidate, limit)
    if not np.isin([before, after], (0.0, 1.0)).all():
        raise errors.CannotJudge("an item is neither right nor wrong: give True or False")
    n = before.size
    lost, won = int((before > after).sum()), int((after > before).sum())
    p_value = paired_shares.mcnemar(lost, won)
    low, high = paired_shares.difference(lost, won, n)
    if p_value > 1 - paired_shares.CONFIDENCE:
        low = min(low, 0.0)  # the exact test decides whether there is a drop
    changed = (lost + won + 1) / n
    return _judged(
        before, after, float((before - after).mean()), (low, high), limit,
        math.sqrt(changed / n), p_value=p_value,
    )  # fmt: skip


def scores(
    baseline: npt.ArrayLike, candidate: npt.ArrayLike, *, limit: float = LIMIT, seed: int = 0
) -> Regression:
    """The mean of scores from 0 to 1, higher being better.

    Raises:
        CannotJudge: no items, unequal numbers of them, a score outside, or an impossible limit.
    """
    before, after = _paired(baseline, candidate, limit)
    if min(before.min(), after.min()) < 0 or max(before.max(), after.max()) > 1:
        raise errors.CannotJudge("a score is outside 0 to 1: scale it")
    drops = before - after
    low, high, error = _bootstrap((drops,), np.mean, "BCa", seed)
    if np.count_nonzero(drops) < FEW_CHANGED:
        unseen = paired_shares.difference(0, 0, drops.size)
        low, high = min(low, drops.mean() + unseen[0]), max(high, drops.mean() + unseen[1])
        error = max(error, 1 / drops.size)
    return _judged(before, after, float(drops.mean()), (low, high), limit, error)


def mean_ratio(
    baseline: npt.ArrayLike, candidate: npt.ArrayLike, *, limit: float = LIMIT, seed: int = 0
) -> Regression:
    """The mean of amounts, lower being better: cost, tokens, time.

    Raises:
        CannotJudge: as `scores`, or an amount that is not above 0.
    """
    before, after = _amounts(baseline, candidate, limit)

    def rise(one: Floats, other: Floats, axis: int = -1) -> Floats:
        ratio: Floats = other.mean(axis=axis) / one.mean(axis=axis)
        return ratio - 1

    low, high, error = _bootstrap((before, after), rise, "BCa", seed)
    return _judged(before, after, float(rise(before, after)), (low, high), limit, error, lower=True)


def quantile_ratio(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    *,
    quantile: float = 0.95,
    limit: float = LIMIT,
    seed: int = 0,
) -> Regression:
    """A quantile of amounts, lower being better: p95 latency.

    Raises:
        CannotJudge: as `mean_ratio`, or a quantile outside 0 to 1.
    """
    errors.check_share("the quantile", quantile)
    before, after = _amounts(baseline, candidate, limit)

    def rise(one: Floats, other: Floats, axis: int = -1) -> Floats:
        above: Floats = np.quantile(other, quantile, axis=axis)
        return above / np.quantile(one, quantile, axis=axis) - 1

    low, high, error = _bootstrap((before, after), rise, "percentile", seed)
    seen = (float(np.quantile(before, quantile)), float(np.quantile(after, quantile)))
    return _judged(before, after, float(rise(before, after)), (low, high), limit, error, seen=seen)


def _paired(
    baseline: npt.ArrayLike, candidate: npt.ArrayLike, limit: float
) -> tuple[Floats, Floats]:
    errors.check_share("the limit", limit)
    before = np.asarray(baseline, dtype=np.float64)
    after = np.asarray(candidate, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape or before.size == 0:
        raise errors.CannotJudge(
            f"{before.size} and {after.size} items: give both runs of the same items, at least one"
        )
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise errors.CannotJudge("an item's value is infinite or not a number: score it or drop it")
    return before, after


def _amounts(
    baseline: npt.ArrayLike, candidate: npt.ArrayLike, limit: float
) -> tuple[Floats, Floats]:
    before, after = _paired(baseline, candidate, limit)
    if min(before.min(), after.min()) <= 0:
        raise errors.CannotJudge("an amount is not above 0: leave out items without one")
    return before, after


def _bootstrap(
    data: tuple[Floats, ...], statistic: Callable[..., Any], method: str, seed: int
) -> tuple[float, float, float]:
    """Both one-sided bounds and the standard error; infinite with too few items."""
    from scipy import stats  # noqa: PLC0415 - 79 MB and two seconds, for evaluation only

    if data[0].size < LEAST:
        return -math.inf, math.inf, math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all resamples are alike is no fault here
        found = stats.bootstrap(
            data,
            statistic,
            paired=len(data) > 1,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, VALUES_AT_ONCE // data[0].size),
            confidence_level=2 * paired_shares.CONFIDENCE - 1,
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = (float(each) for each in found.confidence_interval)
    if math.isnan(low) or math.isnan(high):  # every resample gave the same
        low = high = float(statistic(*data))
    return low, high, float(found.standard_error)


def _judged(
    before: Floats,
    after: Floats,
    effect: float,
    interval: tuple[float, float],
    limit: float,
    error: float,
    *,
    p_value: float | None = None,
    lower: bool = False,
    seen: tuple[float, float] | None = None,
) -> Regression:
    normal = NormalDist()
    surely = normal.inv_cdf(CHANCE) * error
    worse, better = (after > before, after < before) if lower else (after < before, after > before)
    means = (float(before.mean()), float(after.mean()))
    return Regression(
        grade=_grade(effect, interval, limit),
        n=before.size,
        baseline=(seen or means)[0],
        candidate=(seen or means)[1],
        effect=effect,
        interval=(float(interval[0]), float(interval[1])),
        limit=limit,
        smallest_detectable=max(limit, normal.inv_cdf(paired_shares.CONFIDENCE) * error) + surely,
        p_value=p_value,
        worse=() if seen else tuple(np.flatnonzero(worse).tolist()),
        better=() if seen else tuple(np.flatnonzero(better).tolist()),
    )


def _grade(effect: float, interval: tuple[float, float], limit: float) -> Grade:
    low, high = interval
    signs = (effect > limit) + (low > 0)
    if signs:
        return Grade.REGRESSED if signs == 2 else Grade.SUSPECT  # noqa: PLR2004 - both
    return Grade.OK if high < limit else Grade.UNDERPOWERED
