"""Which adapters a worker is to open, was asked to open, has open, and cannot open.

A worker is asked once for each lane and connection; one that failed is asked for again after a
while, because a file may come late and memory may become free. Never touches the line. Imported by
`engine.backends.worker_client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from engine.serving import wire

AGAIN_S: Final = 60.0


class Openings:
    """By lane; "" is always open on a connection. `ask` sends to the worker."""

    def __init__(self, ask: Callable[[wire.OpenLane], None]) -> None:
        """There is no connection yet."""
        self._ask = ask
        self._wanted: dict[str, wire.OpenLane] = {}
        self._asked: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._connected = False
        self.open: set[str] = set()
        self.failed: dict[str, str] = {}

    def want(self, lanes: Mapping[str, wire.OpenLane]) -> None:
        """All that are to be open from now on; what is wanted no more is forgotten, not closed."""
        for lane in self._wanted.keys() - lanes.keys():
            self._forget(lane)
        self._wanted = dict(lanes)
        self._catch_up()

    def wants(self, lane: str) -> bool:
        """Whether it is to be open."""
        return lane in self._wanted

    def connected(self, lanes: tuple[str, ...]) -> None:
        """A worker is here that has these open."""
        self._connected = True
        self.open = {*lanes, ""}
        self.failed.clear()
        self._catch_up()

    def disconnected(self) -> None:
        """It is gone; why some failed is known until the next one comes."""
        self._connected = False
        self.open.clear()
        self._asked.clear()
        for lane in list(self._timers):
            self._timers.pop(lane).cancel()

    def opened(self, lane: str) -> None:
        """The worker has it open."""
        self.failed.pop(lane, None)
        self.open.add(lane)

    def fell(self, lane: str, reason: str) -> None:
        """The worker has it not, or not any more."""
        self.open.discard(lane)
        self.failed[lane] = reason
        if lane in self._wanted and lane not in self._timers:
            later = asyncio.get_running_loop().call_later(AGAIN_S, self._again, lane)
            self._timers[lane] = later

    def _again(self, lane: str) -> None:
        del self._timers[lane]
        self._asked.discard(lane)
        self._catch_up()

    def _forget(self, lane: str) -> None:
        self._asked.discard(lane)
        self.failed.pop(lane, None)
        if (timer := self._timers.pop(lane, None)) is not None:
            timer.cancel()

    def _catch_up(self) -> None:
        for lane, wanted in self._wanted.items():
            if self._connected and lane not in self._asked | self.open:
                self._asked.add(lane)
                self._ask(wanted)
