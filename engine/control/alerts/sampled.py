"""Samples of the store as points of the exported series.

A counter's point at a moment is the sum of all seconds up to it, a gauge's the newest sample of the
step before it. The last half minute is recomputed at every round, because the gateway may write a
second late. Imported by `engine.control.alerts`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from engine.control.alerts import vectors
from engine.control.alerts.recording import Recording
from engine.control.alerts.vectors import Labels
from engine.metering import series_of_samples
from engine.metering.series_of_samples import Value
from storage import rollups, samples
from storage.exported_series import STEP_S
from storage.samples import Kind
from storage.store import Session
from storage.tallies import Tally

SETTLED_S: Final = 30
"""The age at which a second is complete."""

SLICE_S: Final = 4 * STEP_S
"""How much is read at once: control's other work takes turns between slices."""

RECENT_S: Final = 1_200
"""How far back a start reads the samples of seconds; before it roll-ups of `COARSE_S`."""

COARSE_S: Final = 120


class Sampled:
    """Reads samples into a recording; `names` are the series that rules ask for."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._totals: Counter[tuple[str, Labels]] = Counter()
        self._settled_s: int | None = None

    async def read(self, s: Session, until_s: int, *, names: Collection[str], back_s: int) -> None:
        """Make the points up to a second, a multiple of the step, what the store says.

        The first time, or after a pause or a jump of the clock, as far back as `back_s`.
        """
        settled = self._settled_s
        if settled is None or not 0 <= until_s - settled <= RECENT_S:
            settled = await self._begin(s, until_s, names, back_s)
        self._recording.cut(settled * 1000 + 1)
        steps: dict[int, tuple[Counter[tuple[str, Labels]], dict[tuple[str, Labels], float]]] = {}
        for begin in range(settled, until_s, SLICE_S):
            steps |= await _steps(s, begin, min(begin + SLICE_S, until_s), names)
            await asyncio.sleep(0)
        totals, keep_s = self._totals, max(settled, until_s - SETTLED_S)
        for at_s in range(settled + STEP_S, until_s + 1, STEP_S):
            await asyncio.sleep(0)
            counted, gauges = steps.get(at_s, (Counter(), {}))
            totals = self._counted(totals, counted, at_s, names)
            for (name, labels), value in gauges.items():
                if name in names:
                    self._recording.put(name, dict(labels), at_s * 1000, value)
            if at_s == keep_s:
                self._totals, self._settled_s = totals, at_s

    async def _begin(self, s: Session, until_s: int, names: Collection[str], back_s: int) -> int:
        """Forget everything and read the roll-ups of hours ago; where the seconds begin."""
        self._recording.cut(0)
        self._totals = Counter()
        settled = self._settled_s = until_s - RECENT_S
        begin = (until_s - back_s) // COARSE_S * COARSE_S
        for at_s in range(begin, settled, COARSE_S):
            end = min(at_s + COARSE_S, settled)
            found = await rollups.between(s, Kind.ARM, at_s, end - 1)
            counted: Counter[tuple[str, Labels]] = Counter()
            for arm, tally in found.items():
                _add(counted, series_of_samples.of_arm(arm, tally, names))
            self._totals = self._counted(self._totals, counted, end, names, step_s=end - at_s)
            await asyncio.sleep(0)
        return settled

    def _counted(
        self,
        totals: Counter[tuple[str, Labels]],
        counted: Counter[tuple[str, Labels]],
        at_s: int,
        names: Collection[str],
        step_s: int = STEP_S,
    ) -> Counter[tuple[str, Labels]]:
        """The totals with what a step counted, put down as points; a new series begins at zero."""
        grown = totals.copy()
        for key, by in counted.items():
            name, labels = key
            if name not in names:
                continue
            if key not in grown:
                self._recording.put(name, dict(labels), (at_s - step_s) * 1000, 0.0)
            grown[key] += by
            self._recording.put(name, dict(labels), at_s * 1000, float(grown[key]))
        for (name, labels), total in grown.items():
            rare = (name, labels) not in counted and not any(k == "service" for k, _ in labels)
            if rare:  # what counts rare events is written with an event only, and measured always
                self._recording.put(name, dict(labels), at_s * 1000, float(total))
        return grown


async def _steps(
    s: Session, after_s: int, until_s: int, names: Collection[str]
) -> dict[int, tuple[Counter[tuple[str, Labels]], dict[tuple[str, Labels], float]]]:
    """What the seconds of each step counted, and the gauges at its end."""
    found: dict[int, tuple[Counter[tuple[str, Labels]], dict[tuple[str, Labels], float]]] = {}

    def step(second: int) -> tuple[Counter[tuple[str, Labels]], dict[tuple[str, Labels], float]]:
        return found.setdefault(_end(second), (Counter(), {}))

    def latest(second: int, values: Iterable[Value]) -> None:
        gauges = step(second)[1]
        for name, labels, value in values:
            gauges[name, vectors.ordered(labels)] = value

    tallies: dict[tuple[int, str], Tally] = {}
    for second, arm, sample in await samples.since(s, after_s + 1, Kind.ARM, until_s):
        tallies.setdefault((_end(second), arm), Tally()).add(Tally.of(sample))
    for (end, arm), tally in tallies.items():
        _add(step(end)[0], series_of_samples.of_arm(arm, tally, names))
    for second, _, gateway in await samples.since(s, after_s + 1, Kind.GATEWAY, until_s):
        _add(step(second)[0], series_of_samples.counts_of_gateway(gateway))
        latest(second, series_of_samples.of_gateway(gateway))
    for second, instance, state in await samples.since(s, after_s + 1, Kind.INSTANCE, until_s):
        latest(second, series_of_samples.of_instance(instance, state))
    for second, _, host in await samples.since(s, after_s + 1, Kind.HOST, until_s):
        latest(second, series_of_samples.of_host(host))
    for second, _, gpu in await samples.since(s, after_s + 1, Kind.GPU, until_s):
        _add(step(second)[0], series_of_samples.counts_of_gpu(gpu))
        latest(second, series_of_samples.of_gpu(gpu))
    return found


def _end(second: int) -> int:
    """The end of the step that a second is in."""
    return -(-second // STEP_S) * STEP_S


def _add(counted: Counter[tuple[str, Labels]], values: Iterable[Value]) -> None:
    for name, labels, value in values:
        counted[name, vectors.ordered(labels)] += value  # type: ignore[assignment]
