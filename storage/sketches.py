"""A mergeable sketch of durations whose quantiles are within 1 % of the exact ones.

DDSketch (Masson, Rim and Lee, VLDB 2019): values are counted in buckets whose bounds grow by a
fixed ratio, so any value of a bucket is within the accuracy of the bucket's middle. Merging adds
counts: it is exact, associative and commutative. Stored as JSON by the second (`to_dict`) and
packed in roll-ups (`pack`); in both, buckets are pairs, one after the other: how far a bucket is
from the one before, and its count. Earlier versions wrote counts by bucket. Imports msgspec and the
standard library only.
"""

from __future__ import annotations

import functools
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Self

import msgspec

ACCURACY: Final = 0.01
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)
_SMALL: Final = 1 << 16
"""Whole values below it have their buckets in a table: most gaps between tokens are so short."""


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """A sketch of a roll-up, whose hundreds of buckets are decoded without a Python loop."""

    total: float
    lowest: float
    highest: float
    zeros: int
    buckets: list[int] | dict[int, int]


class Sketch:
    """Counts of values by bucket. Bucket `i` holds the values in (gamma^(i-1), gamma^i]."""

    __slots__ = ("_buckets", "_zeros", "count", "highest", "lowest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._zeros = 0
        self.count = 0
        self.total = 0.0
        self.lowest = math.inf
        self.highest = -math.inf

    def add(self, value_us: float, times: int = 1) -> None:
        """Count a value; negative values count as zero, NaN and infinities not at all."""
        value = float(value_us)
        if times <= 0 or not -math.inf < value < math.inf:
            return
        if value > 0:
            index = math.ceil(math.log(value) / _LOG_GAMMA)
            self._buckets[index] = self._buckets.get(index, 0) + times
        else:
            value = 0.0
            self._zeros += times
        self.count += times
        self.total += value * times
        self.lowest = min(self.lowest, value)
        self.highest = max(self.highest, value)

    def add_all(self, values_us: Sequence[int]) -> None:
        """Count whole values, as `add` does; the gaps between tokens come by the thousand."""
        positive = [value for value in values_us if value > 0]
        small = [value for value in positive if value < _SMALL]
        found = Counter(map(_small().__getitem__, small))
        if len(small) < len(positive):
            log, ceil = math.log, math.ceil
            found.update(ceil(log(each) / _LOG_GAMMA) for each in positive if each >= _SMALL)
        buckets = self._buckets
        for index, times in found.items():
            buckets[index] = buckets.get(index, 0) + times
        zeros = len(values_us) - len(positive)
        self._zeros += zeros
        self.count += len(values_us)
        if positive:
            self.total += sum(positive)
            self.lowest = min(self.lowest, 0.0 if zeros else float(min(positive)))
            self.highest = max(self.highest, float(max(positive)))
        elif zeros:
            self.lowest, self.highest = min(self.lowest, 0.0), max(self.highest, 0.0)

    def merge(self, other: Sketch) -> Self:
        """Add the counts of another sketch, which stays as it is."""
        for index, times in other._buckets.items():
            self._buckets[index] = self._buckets.get(index, 0) + times
        self._zeros += other._zeros
        self.count += other.count
        self.total += other.total
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)
        return self

    def quantile(self, q: float) -> float | None:
        """The value of rank `floor(q * (count - 1))`, within 1 %; None when nothing was counted."""
        if not self.count:
            return None
        rank = math.floor(min(max(q, 0.0), 1.0) * (self.count - 1))
        if rank < self._zeros:
            return 0.0
        seen = self._zeros
        for index in sorted(self._buckets):
            seen += self._buckets[index]
            if seen > rank:
                middle = 2 * _GAMMA**index / (_GAMMA + 1)
                return min(max(middle, self.lowest), self.highest)
        return self.highest

    def at_most(self, bounds: Sequence[float]) -> list[int]:
        """How many values are up to each of some bounds, which ascend; each value within 1 %."""
        found, seen = [], self._zeros
        remaining = iter(sorted(self._buckets.items()))
        index, times = next(remaining, (None, 0))
        for bound in bounds:
            while index is not None and 2 * _GAMMA**index / (_GAMMA + 1) <= bound:
                seen += times
                index, times = next(remaining, (None, 0))
            found.append(seen)
        return found

    @property
    def mean(self) -> float | None:
        """The exact mean; None when nothing was counted."""
        return self.total / self.count if self.count else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON; `{}` when nothing was counted. What follows from the rest is left out."""
        if not self.count:
            return {}
        body: dict[str, Any] = {"total": _short(self.total)}
        if self.count > 1:
            body |= {"lowest": _short(self.lowest), "highest": _short(self.highest)}
        if self._zeros:
            body["zeros"] = self._zeros
        if self._buckets:
            body["buckets"] = self._pairs()
        return body

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The sketch that `to_dict` described."""
        sketch = cls()
        if body:
            sketch.total = float(body["total"])
            sketch.lowest = float(body.get("lowest", sketch.total))
            sketch.highest = float(body.get("highest", sketch.total))
            sketch._zeros = int(body.get("zeros", 0))
            sketch._buckets = _counts(body.get("buckets", []))
            sketch.count = sketch._zeros + sum(sketch._buckets.values())
        return sketch

    def pack(self) -> Packed | None:
        """As roll-ups store it; None when nothing was counted."""
        if not self.count:
            return None
        return Packed(
            total=_short(self.total),
            lowest=_short(self.lowest),
            highest=_short(self.highest),
            zeros=self._zeros,
            buckets=self._pairs(),
        )

    def merge_packed(self, packed: Packed | None) -> Self:
        """Add the counts of a packed sketch."""
        if packed is None:
            return self
        buckets, added = self._buckets, _counts(packed.buckets)
        if buckets:
            get = buckets.get
            for index, times in added.items():
                buckets[index] = get(index, 0) + times
        else:
            buckets.update(added)
        self._zeros += packed.zeros
        self.count += packed.zeros + sum(added.values())
        self.total += packed.total
        self.lowest = min(self.lowest, packed.lowest)
        self.highest = max(self.highest, packed.highest)
        return self

    def _pairs(self) -> list[int]:
        pairs: list[int] = []
        last = 0
        for index, times in sorted(self._buckets.items()):
            pairs += (index - last, times)
            last = index
        return pairs

    def __eq__(self, other: object) -> bool:
        """Whether both have counted the same; totals are sums of floats and may differ a little."""
        if not isinstance(other, Sketch):
            return NotImplemented
        mine, theirs = self.to_dict(), other.to_dict()
        return math.isclose(
            mine.pop("total", 0.0), theirs.pop("total", 0.0), rel_tol=1e-9, abs_tol=1e-9
        ) and (mine == theirs)

    __hash__ = None  # type: ignore[assignment]  # it grows


def _counts(stored: list[int] | Mapping[Any, int]) -> dict[int, int]:
    """Counts by bucket, of pairs, or as earlier versions wrote them."""
    if isinstance(stored, list):
        return dict(zip(accumulate(stored[::2]), stored[1::2], strict=True))
    return {int(index): times for index, times in stored.items()}


@functools.cache
def _small() -> array[int]:
    """The bucket of each whole value below `_SMALL`; 0 has none."""
    table = array("H", [0])
    index = 0
    while len(table) < _SMALL:
        highest = math.floor(_GAMMA**index) + 1
        while math.ceil(math.log(highest) / _LOG_GAMMA) > index:
            highest -= 1
        table.extend([index] * (min(highest + 1, _SMALL) - len(table)))
        index += 1
    return table


def _short(value: float) -> float:
    """Whole microseconds without the `.0` that every one of them would be stored with."""
    return int(value) if value.is_integer() else value
