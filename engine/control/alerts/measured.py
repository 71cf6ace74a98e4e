"""What the store says at each round, as points of series: in memory, and stored for a restart.

A restart of control reads the points again, so that an expression that looks back holds as it did.
What was not measured while control was away stays a gap. Imported by `engine.control.alerts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

from engine.control.alerts import vectors
from engine.control.alerts.recording import Recording
from engine.metering.series_of_samples import Value
from storage import alert_points
from storage.alert_points import Series
from storage.exported_series import STEP_S
from storage.store import Session

PRUNE_S: Final = 300
"""How often old points are deleted."""


class Measured:
    """Puts the points of rounds into a recording; `names` are the series that rules ask for."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._read = False
        self._last_s: int | None = None  # of the last round that was stored
        self._stored: dict[Series, float | None] = {}
        self._now: dict[Series, float] = {}

    async def read(self, s: Session, instant_s: int, last_s: int | None, *, back_s: int) -> None:
        """After a start, the points that were stored up to the last round."""
        if self._read:
            return
        self._read = True
        if last_s is None:
            return
        self._last_s = last_s
        for (name, labels), points in (await alert_points.read(s, last_s)).items():
            ends = [at for at, _ in points[1:]] + [last_s + STEP_S]
            for (at_s, value), end_s in zip(points, ends, strict=True):
                if value is not None:
                    begin_s = max(at_s, (instant_s - back_s) // STEP_S * STEP_S)
                    for each in range(begin_s, min(end_s, instant_s), STEP_S):
                        self._recording.put(name, dict(labels), each * 1000, value)
            self._stored[name, labels] = points[-1][1]
            await asyncio.sleep(0)

    def put(self, instant_s: int, values: Iterable[Value], names: Collection[str]) -> None:
        """The points of a round."""
        self._recording.cut(instant_s * 1000)
        self._now = {}
        for name, labels, value in values:
            if name in names and self._recording.put(name, labels, instant_s * 1000, value):
                self._now[name, vectors.ordered(labels)] = value

    async def write(
        self, s: Session, instant_s: int, names: Collection[str], *, back_s: int
    ) -> None:
        """Store what changed since the last round; `written` follows once that is committed."""
        last_s = self._last_s
        known = before = self._stored
        if last_s is not None and instant_s > last_s + STEP_S:  # in between nothing was measured
            ends: dict[Series, float | None] = {
                series: None for series, value in known.items() if value is not None
            }
            await alert_points.write(s, last_s + STEP_S, ends)
            before = {**known, **ends}
        elif last_s is not None and instant_s <= last_s:  # the clock was set back
            await alert_points.cut(s, instant_s)
            before = {}
        gone = {series: None for series, value in known.items() if value is not None}
        values: dict[Series, float | None] = {**gone, **self._now}
        changed = {
            series: value
            for series, value in values.items()
            if series not in before or before[series] != value
        }
        await alert_points.write(s, instant_s, changed)
        if instant_s % PRUNE_S == 0:
            await alert_points.prune(s, names, instant_s - back_s)

    def written(self, instant_s: int) -> None:
        """The round of this moment is in the store."""
        self._last_s, self._stored = instant_s, dict(self._now)
