"""The last 15 minutes of measurements, kept in memory and topped up second by second.

A tick of the screen reads only the seconds that are new. It never writes and knows no screens.
Imported by `app.reader` and `app.figures`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from storage import samples
from storage.samples import ArmSample, GatewaySample, GpuSample, HostSample, InstanceSample
from storage.store import Session
from storage.tallies import Tally

SPAN_S: Final = 15 * 60
NOW_S: Final = 10
WINDOW_US: Final = 5 * 60 * 1_000_000  # of the traffic figures, on the screen and in `status`
FRESH_S: Final = 8  # quiet instances and arms have a row every four seconds
_LATE_S: Final = 5  # for this long a second may still be added to
_DAY_S: Final = 24 * 3600
_SECOND_US: Final = 1_000_000


@dataclass(slots=True)
class Recent:
    """Measurements by subject and second."""

    hosts: dict[int, HostSample] = field(default_factory=dict)
    gpus: dict[int, dict[int, GpuSample]] = field(default_factory=dict)
    instances: dict[str, dict[int, InstanceSample]] = field(default_factory=dict)
    arms: dict[str, dict[int, Tally]] = field(default_factory=dict)
    gateway: dict[int, GatewaySample] = field(default_factory=dict)
    newest: int | None = None
    ahead: int | None = None
    """The newest second up to a day in the future: there is one if the clock was set back."""
    _stored: dict[tuple[str, int], ArmSample] = field(default_factory=dict)
    """The samples of the tallies that may still change."""

    async def top_up(self, s: Session, now: int) -> None:
        """Read what is new since the last call, at first the whole span; nothing after `now`.

        If the clock was set back since the last call, the whole span is read again.
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
        for second, name, instance in await samples.since(s, begin, samples.Kind.INSTANCE, now):
            self.instances.setdefault(name, {})[second] = instance
        for second, _, gateway in await samples.since(s, begin, samples.Kind.GATEWAY, now):
            self.gateway[second] = gateway
        stored = {}
        for second, name, arm in await samples.since(s, begin, samples.Kind.ARM, now):
            stored[name, second] = arm
            if self._stored.get((name, second)) != arm:
                self.arms.setdefault(name, {})[second] = Tally.of(arm)
        self._stored = {key: arm for key, arm in stored.items() if key[1] >= last - _LATE_S}
        self._forget(last - SPAN_S)

    def _forget(self, before: int) -> None:
        _drop(self.hosts, before)
        _drop(self.gateway, before)
        for named in (self.gpus, self.instances, self.arms):
            kept: dict[Any, dict[int, Any]] = named
            for name in list(kept):
                _drop(kept[name], before)
                if not kept[name]:
                    del kept[name]

    def tokens(self, end: int, begin: int) -> list[float | None]:
        """Tokens generated in each second by all instances; None where none was measured."""
        return self._spread(end, begin, lambda row, covered: row.decode_tokens / covered)

    def busy(self, end: int, begin: int) -> list[float | None]:
        """The busy share of each second, as the mean of the instances that report it."""
        busy = self._spread(
            end, begin, lambda row, covered: None if row.busy_us is None else row.busy_us / covered
        )
        reporting = self._spread(end, begin, lambda row, _: None if row.busy_us is None else 1.0)
        return [
            None if done is None or not count else min(done / (count * _SECOND_US), 1.0)
            for done, count in zip(busy, reporting, strict=True)
        ]

    def _spread(
        self, end: int, begin: int, of: Callable[[InstanceSample, int], float | None]
    ) -> list[float | None]:
        """A value by second, summed over instances.

        `of` takes a row and how many seconds it covers: the seconds before a quiet row have the
        same value.
        """
        found: list[float | None] = [None] * (end - begin + 1)
        for rows in self.instances.values():
            own = set(rows)
            for second, row in rows.items():
                if not begin <= second <= end + FRESH_S:
                    continue
                covered = _covered(row)
                value = of(row, covered)
                if value is None:
                    continue
                for each in range(second - covered + 1, second + 1):
                    if begin <= each <= end and (each == second or each not in own):
                        found[each - begin] = (found[each - begin] or 0.0) + value
        return found


def _covered(row: InstanceSample) -> int:
    """How many whole seconds a row covers."""
    covered_us = (row.busy_us or 0) + (row.idle_us or 0)
    return min(max(round(covered_us / _SECOND_US), 1), FRESH_S)


def _drop(rows: dict[int, Any], before: int) -> None:
    for second in [each for each in rows if each < before]:
        del rows[second]
