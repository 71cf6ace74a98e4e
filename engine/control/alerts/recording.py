"""The last hours of the exported series, in memory: the input of alert rules.

Points are at multiples of `STEP_S`. Counters start at the first second that is read, so a restart
of the gateway does not reset them. After an hour points are thinned to one in two minutes. Stores
nothing: when control starts, `sampled` and `measured` read it again. Imported by
`engine.control.alerts`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
from typing import Final

from engine.control.alerts import vectors
from engine.control.alerts.vectors import Labels, Series

MOST_SERIES: Final = 5_000
"""Series that are kept; with more arms than that, the later ones are not alerted on."""

FINE_MS: Final = 3_600_000
COARSE_MS: Final = 120_000


class Recording:
    """Series by name and labels."""

    def __init__(self) -> None:
        self._series: dict[str, dict[Labels, Series]] = {}
        self.count = 0
        self.left_out = 0
        """Series that were not kept for want of room."""

    def put(self, name: str, labels: Mapping[str, str], at_ms: int, value: float) -> bool:
        """Add a point after the others of its series; whether it is kept."""
        named = self._series.setdefault(name, {})
        key = vectors.ordered(labels)
        series = named.get(key)
        if series is None:
            if self.count >= MOST_SERIES:
                self.left_out += 1
                return False
            series = named[key] = Series(key, array("q"), array("d"))
            self.count += 1
        if series.times_ms and series.times_ms[-1] >= at_ms:
            return False
        series.times_ms.append(at_ms)
        series.values.append(value)
        return True

    def knows(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the series has a point."""
        return vectors.ordered(labels) in self._series.get(name, {})

    def cut(self, from_ms: int) -> None:
        """Forget the points from a moment on: they are recomputed, or the clock was set back."""
        for named in self._series.values():
            for series in named.values():
                index = bisect_left(series.times_ms, from_ms)
                del series.times_ms[index:]
                del series.values[index:]

    def thin(self, now_ms: int, keep_ms: int) -> None:
        """Forget what is older than `keep_ms`, and most of what is older than an hour."""
        for named in self._series.values():
            for key, series in list(named.items()):
                begin = bisect_left(series.times_ms, now_ms - keep_ms)
                fine = bisect_right(series.times_ms, now_ms - FINE_MS)
                kept = [
                    at for at in range(begin, fine) if series.times_ms[at] % COARSE_MS == 0
                ] + list(range(max(begin, fine), len(series.times_ms)))
                if not kept:
                    del named[key]
                    self.count -= 1
                elif len(kept) < len(series.times_ms):
                    named[key] = Series(
                        key,
                        array("q", [series.times_ms[at] for at in kept]),
                        array("d", [series.values[at] for at in kept]),
                    )
        self.left_out = 0

    def series(self) -> Mapping[str, Collection[Series]]:
        """As the evaluator reads them."""
        return {name: named.values() for name, named in self._series.items() if named}
