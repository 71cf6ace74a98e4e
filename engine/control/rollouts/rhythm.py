"""How many requests to expect, and by when, from the hours of a service's measured week.

Pure. Traffic of a day repeats, so a step that begins in the evening lasts longer than one at noon.
Imported by `engine.control.rollouts.forecast`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from storage.rollout_traffic import HOUR_US, Traffic

HOURS: Final = 24
LEAST_US: Final = HOUR_US // 6
"""The least measured time for an hour of the day to have its own rate."""
FURTHEST_S: Final = 30 * 24 * 3600.0
_SECOND_US: Final = 1_000_000
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Requests per second, on average and by hour of the day (UTC, None: not measured)."""

    per_s: float
    by_hour: tuple[float | None, ...]

    def at(self, at_s: float) -> float:
        """The rate at a moment."""
        rate = self.by_hour[int(at_s // _HOUR_S) % HOURS]
        return self.per_s if rate is None else rate

    def arrivals(self, begin_s: float, lasts_s: float) -> float:
        """How many requests to expect in a stretch of time."""
        return sum(self.at(at) * seconds for at, seconds in _hours(begin_s, lasts_s))

    def time_for(self, requests: float, begin_s: float) -> float | None:
        """After how many seconds to expect so many requests; None if not within 30 days."""
        if requests <= 0:
            return 0.0
        missing = requests
        for at, seconds in _hours(begin_s, FURTHEST_S):
            rate = self.at(at)
            if rate * seconds >= missing:
                return at - begin_s + missing / rate
            missing -= rate * seconds
        return None


def of(traffic: Traffic) -> Rhythm:
    """The rhythm of what was measured."""
    measured, requests = [0] * HOURS, [0] * HOURS
    for hour in range(traffic.begin_us // HOUR_US, traffic.end_us // HOUR_US + 1):
        begin, end = hour * HOUR_US, (hour + 1) * HOUR_US
        measured[hour % HOURS] += min(end, traffic.end_us) - max(begin, traffic.begin_us)
        requests[hour % HOURS] += traffic.by_hour.get(hour, 0)
    seconds = max((traffic.end_us - traffic.begin_us) / _SECOND_US, 1.0)
    return Rhythm(
        traffic.requests / seconds,
        tuple(
            count / (us / _SECOND_US) if us >= LEAST_US else None
            for us, count in zip(measured, requests, strict=True)
        ),
    )


def _hours(begin_s: float, lasts_s: float) -> list[tuple[float, float]]:
    """A stretch of time divided at whole hours: when each part begins, and how long it is."""
    parts, at, end = [], begin_s, begin_s + lasts_s
    while at < end:
        until = min((at // _HOUR_S + 1) * _HOUR_S, end)
        parts.append((at, until - at))
        at = until
    return parts
