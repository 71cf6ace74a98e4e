"""Whether a bad event is more (or less) frequent on the candidate than on the stable release.

The counts come in blocks, each with the requests and events of both arms over the same stretch of
time: a minute, or so many requests. For a pair of rates (c, s) a block is worth the likelihood
ratio of (c, s) against (m, m), where m is their mean weighted with the block's sizes. Its mean is
at most 1 whenever both arms have one rate, whatever it is, so the product over blocks is an
e-process. It is averaged over odds of c that are 1.5 to 20 times those of s; s is estimated from
the stable requests of earlier blocks.

Assumed, for the e-value: within a block both arms see the same traffic, a request's outcome does
not depend on the others, and the sizes of a block do not depend on its outcomes. So requests are
assigned to blocks by when they arrived, and a block is handed over when its last request ended.
Not assumed: equal sizes, a constant split, or a rate that stays the same from block to block; what
disturbs both arms alike, such as a busy GPU, is no evidence.
Assumed in addition, for the intervals: each arm's rate is constant. They are made of one interval
for each arm, at half of alpha, and so wider than they would have to be.

Never decides what to do. Imported by the controllers and `comparison_power`.

Source: Turner, Ly and Grünwald 2021, "Generic E-variables for exact sequential k-sample tests that
allow for optional stopping", arXiv 2106.02693: the e-variable of a block for two Bernoulli streams
and a simple alternative. They estimate both rates as they go; here the stable rate is estimated
and the ratio of the odds is averaged over, so that one large block is worth something too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.judging import errors, exceedance

# The estimate of the stable rate before any request is the expected rate, with the weight of half
# an event, as Krichevsky and Trofimov have it.
PRIOR_EVENTS: Final = 0.5

# Beyond this number, how many more requests are needed is not reported.
MOST_NEEDED: Final = 10**9

Floats = npt.NDArray[np.float64]


class Side(StrEnum):
    """Which difference is looked for."""

    HIGHER = "higher"  # the candidate's rate is above stable's
    LOWER = "lower"  # the candidate's rate is below stable's
    EITHER = "either"  # both, each with half the weight


@dataclass(frozen=True, slots=True)
class Block:
    """Requests and events of both arms over the same stretch of time."""

    candidate_n: int
    candidate_events: int
    stable_n: int
    stable_events: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """What the blocks say of the difference between two rates.

    `difference` is candidate minus stable and `ratio` candidate over stable, None where stable has
    no event. Their intervals hold the true values at every number of blocks with confidence
    1 - alpha; the ratio's may end at infinity. `needed` is how many more requests, both arms
    together, would make the e-value reach 1/alpha if rates and split stayed as they are; None if
    they would not.
    """

    e_value: float
    reached: bool
    candidate_n: int
    candidate_events: int
    stable_n: int
    stable_events: int
    difference: float
    difference_interval: tuple[float, float]
    ratio: float | None
    ratio_interval: tuple[float, float]
    needed: int | None


def compare(
    blocks: Sequence[Block],
    *,
    expected: float = 0.01,
    side: Side = Side.HIGHER,
    alpha: float = exceedance.ALPHA,
) -> Contrast:
    """The evidence after these blocks, in the order of time; all of them, and only finished ones.

    `expected` is a guess at the stable rate before any block, as from yesterday: a bad one costs
    requests, never validity.

    Raises:
        CannotJudge: the counts of a block or the shares are impossible.
    """
    errors.check_share("the expected rate", expected)
    errors.check_share("alpha", alpha)
    for block in blocks:
        errors.check_counts(block.candidate_n, block.candidate_events)
        errors.check_counts(block.stable_n, block.stable_events)
    counts = np.array(
        [(b.candidate_n, b.candidate_events, b.stable_n, b.stable_events) for b in blocks],
        dtype=np.float64,
    ).reshape(-1, 4)
    logs = log_ratios(*counts.T, expected=expected, side=side).sum(axis=-1)
    log_e = float(np.logaddexp.reduce(logs)) - math.log(len(logs))
    total = Block(*(int(each) for each in counts.sum(axis=0)))
    candidate_rate, stable_rate = _rates(total)
    candidate, stable = (
        exceedance.interval(total.candidate_n, total.candidate_events, alpha / 2),
        exceedance.interval(total.stable_n, total.stable_events, alpha / 2),
    )
    return Contrast(
        e_value=math.exp(min(log_e, exceedance.LARGEST_LOG)),
        reached=log_e >= -math.log(alpha),
        candidate_n=total.candidate_n,
        candidate_events=total.candidate_events,
        stable_n=total.stable_n,
        stable_events=total.stable_events,
        difference=candidate_rate - stable_rate,
        difference_interval=(candidate[0] - stable[1], candidate[1] - stable[0]),
        ratio=candidate_rate / stable_rate if total.stable_events else None,
        ratio_interval=(
            candidate[0] / stable[1],
            candidate[1] / stable[0] if stable[0] else math.inf,
        ),
        needed=_needed(logs, total, side, alpha),
    )


def log_ratios(
    candidate_n: Floats,
    candidate_events: Floats,
    stable_n: Floats,
    stable_events: Floats,
    *,
    expected: float,
    side: Side,
) -> Floats:
    """The logarithm of what each block is worth under each alternative.

    The counts have shape (..., blocks), the result (alternatives, ..., blocks). Its sum over
    blocks, exponentiated and averaged over alternatives, is the e-value. Unchecked.
    """
    before_n = np.cumsum(stable_n, axis=-1) - stable_n
    before_events = np.cumsum(stable_events, axis=-1) - stable_events
    stable_rate = (before_events + PRIOR_EVENTS) / (before_n + PRIOR_EVENTS / expected)
    odds = stable_rate / (1 - np.minimum(stable_rate, 1 - 1e-9))
    factors = np.asarray(_factors(side)).reshape(-1, *([1] * stable_rate.ndim))
    rate = _from_odds(odds)
    return _worth(
        _from_odds(odds * factors), rate, candidate_n, candidate_events, stable_n, stable_events
    )


def _worth(
    candidate_rate: Floats,
    stable_rate: Floats,
    candidate_n: Floats | float,
    candidate_events: Floats | float,
    stable_n: Floats | float,
    stable_events: Floats | float,
) -> Floats:
    """The log-likelihood ratio of two rates against their weighted mean."""
    total = np.maximum(candidate_n + stable_n, 1e-300)
    mean = (candidate_n * candidate_rate + stable_n * stable_rate) / total
    mean = np.where(candidate_n + stable_n > 0, mean, stable_rate)
    return (
        candidate_events * np.log(candidate_rate / mean)
        + (candidate_n - candidate_events) * np.log((1 - candidate_rate) / (1 - mean))
        + stable_events * np.log(stable_rate / mean)
        + (stable_n - stable_events) * np.log((1 - stable_rate) / (1 - mean))
    )


def _factors(side: Side) -> tuple[float, ...]:
    higher = exceedance.FACTORS
    lower = tuple(1 / factor for factor in higher)
    return {Side.HIGHER: higher, Side.LOWER: lower, Side.EITHER: higher + lower}[side]


def _from_odds(odds: Floats) -> Floats:
    return odds / (1 + odds)


def _rates(total: Block) -> tuple[float, float]:
    return (
        total.candidate_events / total.candidate_n if total.candidate_n else 0.0,
        total.stable_events / total.stable_n if total.stable_n else 0.0,
    )


def _needed(logs: Floats, total: Block, side: Side, alpha: float) -> int | None:
    """More requests until the mean path reaches 1/alpha, at the rates and the split so far."""
    if np.logaddexp.reduce(logs) - math.log(len(logs)) >= -math.log(alpha):
        return 0
    if not (total.candidate_n and total.stable_n and total.candidate_events + total.stable_events):
        return None
    all_n = total.candidate_n + total.stable_n
    base = (total.stable_events + PRIOR_EVENTS) / (total.stable_n + 2 * PRIOR_EVENTS)
    odds = np.asarray(base / (1 - base))
    growth = (
        _worth(
            _from_odds(odds * np.asarray(_factors(side))),
            _from_odds(odds),
            total.candidate_n,
            total.candidate_events,
            total.stable_n,
            total.stable_events,
        )
        / all_n
    )

    def reached(more: int) -> bool:
        log_e = np.logaddexp.reduce(logs + growth * more) - math.log(len(logs))
        return bool(log_e >= -math.log(alpha))

    if not reached(MOST_NEEDED):
        return None
    short, enough = 0, MOST_NEEDED
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if reached(middle) else (middle, enough)
    return enough
