"""Which differences between candidate and stable a step can find before it starts.

Rates are simulated with a fixed seed; shifts and means use the normal approximation at the end of
the step. What `power` says of "found" and "missed" holds here.

Never looks at results: the other modules judge those. Imported by the controllers.

Source: for shifts Noether 1987, "Sample size determination for some common nonparametric tests",
with the effect measured on the service's own values instead of a normal distribution.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.judging import confidence_sequence, exceedance, power, shift, two_rates

RUNS: Final = 400
BLOCKS: Final = 40
SEED: Final = 20_210_602


def against_stable(
    stable_rate: float,
    candidate_n: int,
    stable_n: int,
    alpha: float = exceedance.ALPHA,
    chance: float = power.CHANCE,
) -> power.Range:
    """The candidate's rates that `two_rates` finds to be higher than stable's.

    400 simulated rollouts of 40 blocks for each rate that is tried; the chances are right to
    about 2 percentage points.

    Raises:
        CannotJudge: an impossible share or a negative number of requests.
    """
    power.check(stable_rate, alpha, chance, min(candidate_n, stable_n))
    shape = (RUNS, min(BLOCKS, candidate_n, stable_n))
    if shape[1] == 0:
        return power.Range(None, None)
    candidate_sizes, stable_sizes = (_blocks(n, shape[1]) for n in (candidate_n, stable_n))

    def finds(rate: float) -> float:
        random = np.random.default_rng(SEED)
        stable_events = random.binomial(stable_sizes, stable_rate, shape).astype(np.float64)
        logs = two_rates.log_ratios(
            np.broadcast_to(candidate_sizes.astype(np.float64), shape),
            random.binomial(candidate_sizes, rate, shape).astype(np.float64),
            np.broadcast_to(stable_sizes.astype(np.float64), shape),
            stable_events,
            expected=stable_rate,
            side=two_rates.Side.HIGHER,
        )
        needed = math.log(len(logs)) - math.log(alpha)
        reached = np.logaddexp.reduce(np.cumsum(logs, axis=-1), axis=0) >= needed
        return float(reached.any(axis=1).mean())

    return power.Range(
        found=power.smallest(finds, chance, stable_rate, 1.0, around=stable_rate),
        missed=power.smallest(finds, 1 - chance, stable_rate, 1.0, around=stable_rate),
    )


def shifts(
    values: npt.ArrayLike,
    candidate_n: int,
    stable_n: int,
    *,
    least: float = 0.0,
    alpha: float = exceedance.ALPHA,
    chance: float = power.CHANCE,
) -> power.Range:
    """The shifts that `shift.compare` calls larger, with `values` measured on the stable release.

    Raises:
        CannotJudge: no values, an impossible share, or a negative number of requests.
    """
    power.check(0.5, alpha, chance, min(candidate_n, stable_n))
    stable = shift.counted("the measured sample", values)
    if min(candidate_n, stable_n) < shift.LEAST:
        return power.Range(None, None)
    n = candidate_n + stable_n
    noise = math.sqrt(n / (12 * candidate_n * stable_n))
    critical = NormalDist().inv_cdf(1 - alpha / 2)

    def finds(moved: float) -> float:
        candidate = shift.Counted(stable.values + moved, stable.counts, stable.before)
        effect = shift.superiority(candidate, stable) - 0.5
        return NormalDist().cdf(effect / noise - critical)

    widest = float(stable.values[-1] - stable.values[0]) or max(abs(float(stable.values[0])), 1.0)
    found = power.smallest(finds, chance, 0.0, 2 * widest)
    missed = power.smallest(finds, 1 - chance, 0.0, 2 * widest)
    return power.Range(
        None if found is None else found + least, None if missed is None else missed + least
    )


def means(
    candidate_deviation: float,
    stable_deviation: float,
    candidate_n: int,
    stable_n: int,
    alpha: float = exceedance.ALPHA,
    chance: float = power.CHANCE,
) -> power.Range:
    """The differences of means whose confidence sequence excludes 0 after so many values.

    Raises:
        CannotJudge: an impossible share or a negative number of values.
    """
    power.check(0.5, alpha, chance, min(candidate_n, stable_n))
    if min(candidate_n, stable_n) < confidence_sequence.LEAST:
        return power.Range(None, None)
    n = candidate_n + stable_n
    error = math.sqrt(candidate_deviation**2 / candidate_n + stable_deviation**2 / stable_n)
    half = error * math.sqrt(n) * confidence_sequence.width(n, alpha, confidence_sequence.TUNED_FOR)
    surely = NormalDist().inv_cdf(chance) * error
    return power.Range(found=half + surely, missed=max(0.0, half - surely))


def _blocks(n: int, count: int) -> npt.NDArray[np.int64]:
    """Requests divided into blocks, as equal as they can be."""
    edges = np.linspace(0, n, count + 1).round().astype(np.int64)
    return np.diff(edges)
