"""Which release answers a request: sticky, by the buckets of a split.

Pure: the same split and unit give the same release in every process. Never looks at the load, the
clock or the store. Standard library alone. Imported by `engine.execution` and the synthetic load.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BUCKETS: Final = 10_000


class NoArm(Exception):
    """No arm of the split covers the unit's bucket; set a split whose weights add up to 100 %."""


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


def assign(ranges: Sequence[tuple[int, int, int]], salt: str, unit: str) -> Assignment:
    """The release in whose range of buckets the unit falls.

    `ranges` are (first bucket, bucket after the last, release), sorted, as `Split.ranges` has them.

    Raises:
        NoArm: no range covers the unit's bucket.
    """
    place = bucket(salt, unit)
    found = bisect_right(ranges, place, key=lambda each: each[0]) - 1
    if found < 0 or place >= ranges[found][1]:
        raise NoArm(f"no arm of the split covers bucket {place}")
    return Assignment(ranges[found][2], place)
