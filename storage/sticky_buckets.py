"""Which of the 10000 buckets of users belong to which release, and how they move with weights.

Pure and without imports beyond the standard library. A change of weights moves exactly as many
buckets as it must, the total variation distance of the two splits; every other user stays on the
arm that answered them. Imported by `storage.splits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

BUCKETS: Final = 10_000

Range = tuple[int, int, int]
"""First bucket, the bucket after the last, release."""


def lay_out(weights: Mapping[int, int]) -> tuple[Range, ...]:
    """Consecutive ranges in the order of the releases; weights in basis points, 10000 together."""
    ranges, start = [], 0
    for release, weight in sorted(weights.items()):
        if weight:
            ranges.append((start, start + weight, release))
            start += weight
    return tuple(ranges)


def rebalance(ranges: Iterable[Range], weights: Mapping[int, int]) -> tuple[Range, ...]:
    """The ranges after a change of weights, with as few buckets moved as possible.

    A release that loses weight gives its last buckets away; they go to the releases that gain, in
    the order of their numbers.
    """
    kept: list[Range] = []
    free: list[tuple[int, int]] = []
    left = {release: weight for release, weight in weights.items() if weight}
    for start, end, release in sorted(ranges):
        stays = min(end - start, left.get(release, 0))
        if stays:
            kept.append((start, start + stays, release))
            left[release] -= stays
        if start + stays < end:
            free.append((start + stays, end))
    takers = iter([(release, wanted) for release, wanted in sorted(left.items()) if wanted])
    release, wanted = next(takers, (0, 0))
    for start, end in free:
        given = start
        while given < end:
            until = min(end, given + wanted)
            kept.append((given, until, release))
            wanted -= until - given
            given = until
            if not wanted:
                release, wanted = next(takers, (0, 0))
    return _merged(kept)


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Adjacent ranges of one release become one."""
    merged: list[Range] = []
    for start, end, release in sorted(ranges):
        if merged and merged[-1][1:] == (start, release):
            merged[-1] = (merged[-1][0], end, release)
        else:
            merged.append((start, end, release))
    return tuple(merged)


def whole(ranges: Iterable[Range]) -> bool:
    """Whether the ranges cover every bucket once."""
    placed = sorted(ranges)
    joined = all(before[1] == after[0] for before, after in pairwise(placed))
    return bool(placed) and joined and (placed[0][0], placed[-1][1]) == (0, BUCKETS)
