"""Series as the evaluator reads them, and the vectors that it computes.

Pure: standard library only. Imported by `engine.control.alerts`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, MutableSequence
from dataclasses import dataclass, field
from typing import Final

NAME: Final = "__name__"
LOOKBACK_MS: Final = 300_000
"""How old a sample may be to count as the present value, as in Prometheus."""

Labels = tuple[tuple[str, str], ...]
"""Labels in the order of their names; the key of an element."""


class Faulty(Exception):
    """An expression has no value here: its vectors cannot be paired, or it takes too much."""


class OverBudget(Faulty):
    """It read more samples, or took longer, than one rule may."""


@dataclass(slots=True)
class Series:
    """Samples of one series, oldest first; those at the times of `ends` mark that it ended."""

    labels: Labels
    times_ms: MutableSequence[int] = field(default_factory=list)
    values: MutableSequence[float] = field(default_factory=list)
    ends: frozenset[int] = frozenset()

    def at(self, now_ms: int) -> tuple[float | None, int]:
        """The newest value up to a moment if it is not older than the lookback, and its cost."""
        index = bisect_right(self.times_ms, now_ms) - 1
        if index < 0 or self.times_ms[index] < now_ms - LOOKBACK_MS:
            return None, 1
        if self.times_ms[index] in self.ends:
            return None, 1
        return self.values[index], 1

    def within(self, begin_ms: int, end_ms: int) -> list[tuple[int, float]]:
        """The samples between two moments, both included."""
        low = bisect_left(self.times_ms, begin_ms)
        high = bisect_right(self.times_ms, end_ms)
        return [
            (at, value)
            for at, value in zip(self.times_ms[low:high], self.values[low:high], strict=True)
            if at not in self.ends
        ]


Database = Mapping[str, Collection[Series]]
"""The series of each name."""


@dataclass(slots=True)
class Vector:
    """Values by labels, and the labels for which a comparison was measured and did not hold.

    PromQL drops the second; a firing alert needs them, to tell "not any more" from "no data".
    """

    values: dict[Labels, float] = field(default_factory=dict)
    unmet: set[Labels] = field(default_factory=set)

    def put(self, labels: Labels, value: float) -> None:
        """Add an element.

        Raises:
            Faulty: there is one with these labels.
        """
        if labels in self.values:
            raise Faulty("two series of the result have the same labels")
        self.values[labels] = value

    def settled(self) -> Vector:
        """Itself, with nothing unmet that another element met."""
        self.unmet -= self.values.keys()
        return self


def nameless(labels: Labels) -> Labels:
    """Labels without the name of the metric."""
    return tuple(pair for pair in labels if pair[0] != NAME)


def only(labels: Labels, names: Collection[str]) -> Labels:
    """Those of some names."""
    return tuple(pair for pair in labels if pair[0] in names)


def besides(labels: Labels, names: Collection[str]) -> Labels:
    """Those of other names."""
    return tuple(pair for pair in labels if pair[0] not in names)


def ordered(pairs: Iterable[tuple[str, str]] | Mapping[str, str]) -> Labels:
    """Labels out of a mapping or of pairs; an empty value is no label."""
    found = pairs.items() if isinstance(pairs, Mapping) else pairs
    return tuple(sorted((name, value) for name, value in found if value))
