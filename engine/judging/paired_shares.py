"""Two versions that answer the same items right or wrong: is one worse, and by how much.

Only items that changed count for the test; all of them count for the interval. Pure arithmetic on
three counts. Never decides what to do. Imported by `regression`.

Sources: the exact McNemar test (Fagerland, Lydersen and Laake 2013, "The McNemar test for binary
matched-pairs data: mid-p and asymptotic are better than exact conditional"); the score interval
for a paired difference (Tango 1998, "Equivalence test and confidence interval for the difference
in proportions for the paired-sample design").
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

CONFIDENCE: Final = 0.95


def mcnemar(lost: int, won: int) -> float:
    """One-sided: the chance that at least `lost` of the changed items are lost if all is chance."""
    changed = lost + won
    ways = as_bad = math.comb(changed, lost)
    for each in range(lost, changed):
        ways = ways * (changed - each) // (each + 1)
        as_bad += ways
    return float(as_bad / 2**changed)


def difference(lost: int, won: int, n: int) -> tuple[float, float]:
    """Tango's bounds, each at 95 %, for the chance to lose an item less that to win one."""
    z = NormalDist().inv_cdf(CONFIDENCE)

    def distance(drop: float) -> float:
        b = (2 * n - lost + won) * drop - lost - won
        c = -won * drop * (1 - drop)
        won_share = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * won_share + drop * (1 - drop))
        apart = lost - won - n * drop
        if variance <= 0:
            return math.copysign(math.inf, apart) if apart else 0.0
        return apart / math.sqrt(variance)

    def edge(level: float) -> float:
        low, high = -1.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if distance(middle) > level else (low, middle)
        return (low + high) / 2

    return edge(z), edge(-z)
