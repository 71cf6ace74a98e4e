"""The last quarter of an hour of measurements, kept in memory and topped up second by second.

A tick of the screen reads the few seconds that are new instead of all that it shows. It never
writes and knows no screens. Imported by `app.poller` and `app.figures`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from storage import samples
from storage.samples import ArmSample, GpuSample, HostSample, WorkerSample
from storage.sketches import Sketch
from storage.store import Session

SPAN_S: Final = 15 * 60
NOW_S: Final = 10
WINDOW_US: Final = 5 * 60 * 1_000_000  # what "lately" means, here and on the command line
FRESH_S: Final = 8  # quiet workers and arms are told of every four seconds
_LATE_S: Final = 5  # a second may be added to for so long
_DAY_S: Final = 24 * 3600
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Second:
    """One arm's second with its durations unpacked."""

    sample: ArmSample
    latency: Sketch
    ttft: Sketch


@dataclass(slots=True)
class Recent:
    """Measurements by subject and second."""

    hosts: dict[int, HostSample] = field(default_factory=dict)
    gpus: dict[int, dict[int, GpuSample]] = field(default_factory=dict)
    workers: dict[str, dict[int, WorkerSample]] = field(default_factory=dict)
    arms: dict[str, dict[int, Second]] = field(default_factory=dict)
    newest: int | None = None
    ahead: int | None = None
    """The newest second in the store that is still to come, of a day: the clock went back."""

    async def top_up(self, s: Session, now: int) -> None:
        """Read what is new since the last time, or the whole span at first; nothing from after now.

        When the clock went back since the last time, the span is read anew.
        """
        last = await samples.newest(s, now + _DAY_S)
        self.ahead = last if last is not None and last > now else None
        if self.ahead is not None:
            last = await samples.newest(s, now)
        known = self.newest
        if known is not None and known > now:
            self._forget(known + 1)
            known = None
        self.newest = last
        if last is None:
            return
        begin = last - SPAN_S if known is None else max(last - SPAN_S, min(known, last) - _LATE_S)
        for second, _, host in await samples.since(s, begin, samples.Kind.HOST, now):
            self.hosts[second] = host
        for second, _, gpu in await samples.since(s, begin, samples.Kind.GPU, now):
            self.gpus.setdefault(gpu.index, {})[second] = gpu
        for second, name, worker in await samples.since(s, begin, samples.Kind.WORKER, now):
            self.workers.setdefault(name, {})[second] = worker
        for second, name, arm in await samples.since(s, begin, samples.Kind.ARM, now):
            before = self.arms.setdefault(name, {}).get(second)
            if before is None or before.sample != arm:
                self.arms[name][second] = Second(
                    arm, Sketch.from_dict(arm.latency), Sketch.from_dict(arm.ttft)
                )
        self._forget(last - SPAN_S)

    def _forget(self, before: int) -> None:
        _drop(self.hosts, before)
        for named in (self.gpus, self.workers, self.arms):
            kept: dict[Any, dict[int, Any]] = named
            for name in list(kept):
                _drop(kept[name], before)
                if not kept[name]:
                    del kept[name]

    def tokens(self, end: int, begin: int) -> list[float | None]:
        """Tokens generated in each second, of all workers; None where none was heard."""
        return self._spread(end, begin, "decode_tokens")

    def busy(self, end: int, begin: int) -> list[float | None]:
        """The share of each second in which workers computed, as their mean."""
        busy = self._spread(end, begin, "busy_us")
        heard = self._spread(end, begin, "")
        return [
            None if done is None or not alive else min(done / (alive * _SECOND_US), 1.0)
            for done, alive in zip(busy, heard, strict=True)
        ]

    def _spread(self, end: int, begin: int, name: str) -> list[float | None]:
        """A count by second, summed over workers; a quiet row tells of all the seconds before it.

        Without a name it is the number of workers that were heard.
        """
        found: list[float | None] = [None] * (end - begin + 1)
        for rows in self.workers.values():
            own = set(rows)
            for second, row in rows.items():
                if not begin <= second <= end + FRESH_S:
                    continue
                covered = _covered(row)
                value = getattr(row, name) / covered if name else 1.0
                for each in range(second - covered + 1, second + 1):
                    if begin <= each <= end and (each == second or each not in own):
                        found[each - begin] = (found[each - begin] or 0.0) + value
        return found


def _covered(row: WorkerSample) -> int:
    """How many whole seconds a row tells of."""
    return min(max(round((row.busy_us + row.idle_us) / _SECOND_US), 1), FRESH_S)


def _drop(rows: dict[int, Any], before: int) -> None:
    for second in [each for each in rows if each < before]:
        del rows[second]


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """One sketch of several, none of them changed."""
    whole = Sketch()
    for sketch in sketches:
        whole.merge(sketch)
    return whole
