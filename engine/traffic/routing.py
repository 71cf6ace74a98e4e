"""Which release answers a request: sticky, by the weights of a split.

Pure: the same split and unit always give the same arm, in every process. Never looks at the load,
the clock or the store. Standard library alone. Imported by the gateway and the synthetic load.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

BUCKETS: Final = 10_000


class NoArm(Exception):
    """No arm of the split has any weight; set a split with one that has."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The release (its number), and the unit's bucket in 0..9999."""

    release: int
    bucket: int


def bucket(salt: str, unit: str) -> int:
    """The unit's place in 0..9999 under a salt; another salt shuffles all units anew."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (salt, unit):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return int.from_bytes(digest.digest(), "big") % BUCKETS


def assign(arms: Iterable[tuple[int, int]], salt: str, unit: str) -> Assignment:
    """The arm whose stretch of the cumulated weights holds the unit's bucket.

    `arms` are (release, weight in basis points). Weights that sum to less than 10000 are stretched,
    so that no unit is without an arm; an arm of weight 0 never gets any. The stretches lie in the
    order of the releases, whatever the order in which the arms were told: weight that goes from one
    arm to its neighbour takes that share of the units along and moves nobody else.

    Raises:
        NoArm: no arm has weight.
    """
    weighted = sorted((release, weight) for release, weight in arms if weight > 0)
    if not weighted:
        raise NoArm("no arm of the split has any weight")
    place = bucket(salt, unit)
    ends = list(accumulate(weight for _, weight in weighted))
    chosen = bisect_right(ends, place * ends[-1] // BUCKETS)
    return Assignment(weighted[chosen][0], place)
