"""The functions of expressions, over a range of samples, one value, or the buckets of a histogram.

They compute what Prometheus 2 computes, extrapolation and counter resets included (its
`promql/functions.go` and `promql/quantile.go` are the reference), and tests hold them against
`promtool test rules`. Pure: standard library only. Imported by `engine.control.alerts.evaluate`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

Samples = Sequence[tuple[int, float]]
"""Time in ms and value, oldest first."""


def extrapolated(
    samples: Samples, begin_ms: int, end_ms: int, *, counter: bool, per_second: bool
) -> float | None:
    """How much a series grew in a range, extrapolated to its ends; None with under two samples.

    A counter that falls was reset. Where the first or the last sample is further from its end of
    the range than 1.1 average intervals, the series is taken to have begun or ended there.
    """
    if len(samples) < 2:  # noqa: PLR2004 a difference takes two
        return None
    (first_ms, first), (last_ms, last) = samples[0], samples[-1]
    grown = last - first
    if counter:
        before = 0.0
        for _, value in samples:
            if value < before:
                grown += before
            before = value
    to_begin, to_end = (first_ms - begin_ms) / 1000, (end_ms - last_ms) / 1000
    measured = (last_ms - first_ms) / 1000
    average = measured / (len(samples) - 1)
    if counter and grown > 0 and first >= 0:  # it cannot have been below zero
        to_begin = min(to_begin, measured * (first / grown))
    threshold = average * 1.1
    covered = measured
    covered += to_begin if to_begin < threshold else average / 2
    covered += to_end if to_end < threshold else average / 2
    factor = covered / measured
    if per_second:
        factor /= (end_ms - begin_ms) / 1000
    return grown * factor


def _summed(values: Sequence[float]) -> float:
    total, lost = 0.0, 0.0
    for value in values:
        total, lost = _added(value, total, lost)
    return total if math.isinf(total) else total + lost


def _added(value: float, total: float, lost: float) -> tuple[float, float]:
    """Neumaier's compensated sum, one step."""
    summed = total + value
    if math.isinf(summed):
        return summed, 0.0
    if abs(total) >= abs(value):
        return summed, lost + ((total - summed) + value)
    return summed, lost + ((value - summed) + total)


def _averaged(values: Sequence[float]) -> float:
    mean, lost = 0.0, 0.0
    for count, value in enumerate(values, 1):
        if math.isinf(mean):
            if math.isinf(value) and (mean > 0) == (value > 0):
                continue
            if not math.isinf(value) and not math.isnan(value):
                continue
        mean, lost = _added(value / count - mean / count, mean, lost)
    return mean if math.isinf(mean) else mean + lost


def _largest(values: Sequence[float]) -> float:
    best = values[0]
    for value in values:
        if value > best or math.isnan(best):
            best = value
    return best


def _smallest(values: Sequence[float]) -> float:
    best = values[0]
    for value in values:
        if value < best or math.isnan(best):
            best = value
    return best


def _changes(values: Sequence[float]) -> float:
    pairs = itertools.pairwise(values)
    return float(sum(a != b and not (math.isnan(a) and math.isnan(b)) for a, b in pairs))


def _resets(values: Sequence[float]) -> float:
    return float(sum(b < a for a, b in itertools.pairwise(values)))


OVER_TIME: Final[Mapping[str, Callable[[Sequence[float]], float]]] = MappingProxyType(
    {
        "avg_over_time": _averaged,
        "sum_over_time": _summed,
        "min_over_time": _smallest,
        "max_over_time": _largest,
        "count_over_time": lambda values: float(len(values)),
        "last_over_time": lambda values: values[-1],
        "present_over_time": lambda _: 1.0,
        "changes": _changes,
        "resets": _resets,
    }
)
"""Of the values of a range that has at least one."""

GROUPED: Final[Mapping[str, Callable[[Sequence[float]], float]]] = MappingProxyType(
    {
        "sum": lambda values: float(sum(values)),
        "avg": _averaged,
        "min": _smallest,
        "max": _largest,
        "count": lambda values: float(len(values)),
    }
)
"""Of the values of a group of elements."""


def _clamped_max(value: float, bound: float) -> float:
    return math.nan if math.isnan(value) or math.isnan(bound) else min(value, bound)


def _clamped_min(value: float, bound: float) -> float:
    return math.nan if math.isnan(value) or math.isnan(bound) else max(value, bound)


BY_VALUE: Final[Mapping[str, Callable[..., float]]] = MappingProxyType(
    {
        "abs": abs,
        "ceil": lambda value: float(math.ceil(value)) if math.isfinite(value) else value,
        "floor": lambda value: float(math.floor(value)) if math.isfinite(value) else value,
        "clamp_max": _clamped_max,
        "clamp_min": _clamped_min,
    }
)
"""Of one value, and of a bound where they have one."""


def quantile(q: float, buckets: Sequence[tuple[float, float]]) -> float:
    """The quantile of a histogram: `buckets` are (upper bound, count up to it), in any order.

    Linear within a bucket; beyond the last finite bound it is that bound.
    """
    merged: dict[float, float] = {}
    for bound, count in sorted(buckets):
        merged[bound] = merged.get(bound, 0.0) + count
    bounds, counts = list(merged), list(itertools.accumulate(merged.values(), max))
    whole = len(bounds) > 1 and math.isinf(bounds[-1]) and counts[-1] > 0
    if not 0 <= q <= 1:
        return math.nan if math.isnan(q) else math.copysign(math.inf, q)
    if not whole:
        return math.nan
    rank, last = q * counts[-1], len(counts) - 1
    found = next((at for at, count in enumerate(counts[:-1]) if count >= rank), last)
    if found == last or (found == 0 and bounds[0] <= 0):
        return bounds[min(found, last - 1)]
    begin, below = (bounds[found - 1], counts[found - 1]) if found else (0.0, 0.0)
    return begin + (bounds[found] - begin) * divided(rank - below, counts[found] - below)


def divided(a: float, b: float) -> float:
    """A quotient as IEEE 754 has it: by zero it is infinite, or not a number."""
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def remainder(a: float, b: float) -> float:
    """What is left of a division, with the sign of `a`."""
    return math.nan if b == 0 or math.isinf(a) else math.fmod(a, b)


def power(a: float, b: float) -> float:
    """A power as IEEE 754 has it."""
    try:
        return math.pow(a, b)
    except OverflowError:
        return math.inf if a > 0 or b % 2 == 0 else -math.inf
    except ValueError:
        if a != 0:
            return math.nan
        odd = b.is_integer() and b % 2 == 1
        return math.copysign(math.inf, a) if odd else math.inf
