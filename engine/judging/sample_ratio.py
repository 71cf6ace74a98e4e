"""Whether the arms of a split got the units that their weights promise.

A split whose arms are filled otherwise is broken somewhere before the comparison: assignment,
recording, an arm that loses its clients. Its other verdicts are then about different people, so
the split is unhealthy and nothing is promoted on it.

Counts distinct units (the `user` field or session by which the split is sticky), not requests:
a busy unit's requests all go to one arm, and would look like a mismatch.
Counts one stretch of constant weights: a step that changes weights begins a new one.

Assumed: the caller asks at the end of a step or at most some dozen times during it. The level is
that of a single look; after 100 looks at a growing count 1.5 % of healthy splits were marked.

Never decides what to do. Imported by the controllers.

Sources: Pearson's chi-squared test (1900), with the threshold of 0.001 at the usual sample-ratio
mismatch check (Fabijan et al. 2019, "Diagnosing sample ratio mismatch in online controlled
experiments", KDD). The tail is the finite sum for whole degrees of freedom (Abramowitz and Stegun
26.4.4 and 26.4.5): SciPy's own would cost a controller 30 MB and half a second at its first call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.judging import errors

UNHEALTHY_BELOW: Final = 0.001

# Below this many expected units in an arm the chi-squared distribution is a poor approximation.
LEAST_EXPECTED: Final = 5.0


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm's units, how many its weight promises, and its share of all units (0 with none)."""

    name: str
    units: int
    expected: float
    share: float


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The arms beside what was set.

    `p_value` is None, and `healthy` true, while an arm expects fewer than five units: `needed` is
    how many more units, all arms together, that takes. An arm without weight that got a unit is
    unhealthy at once, with a p-value of 0.
    """

    arms: tuple[Arm, ...]
    n: int
    chi_squared: float
    p_value: float | None
    healthy: bool
    needed: int


def check(units: Mapping[str, int], weights: Mapping[str, int]) -> SampleRatio:
    """Holds the units of each arm against the weights, in any common unit such as 1/10000.

    An arm missing from `units` got none.

    Raises:
        CannotJudge: an arm without a weight is counted, a number is negative, or no weight is set.
    """
    strange = sorted(units.keys() - weights.keys())
    if strange:
        raise errors.CannotJudge(f"arm {strange[0]} is not in the split: give its weight")
    if min([*units.values(), *weights.values()], default=0) < 0 or sum(weights.values()) <= 0:
        raise errors.CannotJudge("units and weights: give counts from 0, and a weight above 0")
    n, weight = sum(units.values()), sum(weights.values())
    arms = tuple(
        Arm(name, count := units.get(name, 0), n * set_ / weight, count / n if n else 0.0)
        for name, set_ in weights.items()
    )
    filled = [arm for arm in arms if weights[arm.name]]
    chi_squared = math.fsum((arm.units - arm.expected) ** 2 / arm.expected for arm in filled if n)
    least = math.ceil(LEAST_EXPECTED * weight / min(weights[arm.name] for arm in filled))
    misplaced = any(arm.units for arm in arms if not weights[arm.name])
    p_value = 0.0 if misplaced else tail(chi_squared, len(filled) - 1) if n >= least else None
    return SampleRatio(
        arms=arms,
        n=n,
        chi_squared=chi_squared,
        p_value=p_value,
        healthy=p_value is None or p_value >= UNHEALTHY_BELOW,
        needed=max(0, least - n),
    )


def tail(chi_squared: float, freedom: int) -> float:
    """The chance that a chi-squared variable with whole degrees of freedom is at least this."""
    half = chi_squared / 2
    if freedom == 0 or half == 0:
        return 1.0
    start = 0.5 if freedom % 2 else 0.0
    sum_ = math.erfc(math.sqrt(half)) if freedom % 2 else 0.0
    for step in range(freedom // 2):
        power = start + step
        sum_ += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(1.0, sum_)
