"""When requests begin: a few in each turn of the event loop, whatever the number that is ready.

If all began at once, one turn would take as long as the first steps of all of them, and streams
under way and the single request of a quiet client would wait for its end. Addresses take turns;
within an address the connection is first whose last request began longest ago. Where nothing waits,
a request begins at once. Never runs a request itself. Imported by `engine.gateway.http.listener`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Final

from engine.gateway.http.admission import network
from engine.gateway.http.exchange import Exchange

A_TURN: Final = 8
"""How many requests begin in a turn of the loop: a few milliseconds of work."""
ROUND: Final = 10_000
"""A new connection counts as one whose last request began so many requests ago. It comes before
those that ask all the time, and still a flood of new connections does not starve one that is kept.
"""

_Waiting = tuple[int, int, Exchange]
"""The last turn of its connection, the order of asking, and what asks."""


class Turns:
    """The requests of one listener that are ready and have not begun."""

    def __init__(self, begin: Callable[[Exchange], None]) -> None:
        """`begin` starts the application on a request."""
        self._begin = begin
        self._addresses: OrderedDict[str, list[_Waiting]] = OrderedDict()  # heaps, the next first
        self._order = count()
        self._begun = 0
        self._left = A_TURN  # how many may still begin in this turn
        self._due = False  # the next turn is scheduled; it is whenever something waits

    @property
    def waiting(self) -> bool:
        """Whether a request has yet to begin."""
        return bool(self._addresses)

    def ask(self, exchange: Exchange) -> None:
        """Begin a request: at once, or when it is its turn."""
        if self._left and not self._addresses:
            self._start(exchange)
            return
        wire = exchange.wire
        last = self._begun - ROUND if wire.turn is None else wire.turn
        heap = self._addresses.setdefault(network(wire.client[0]), [])
        heapq.heappush(heap, (last, next(self._order), exchange))

    def _turn(self) -> None:
        """Begin as many as one turn may."""
        self._due = False
        self._left = A_TURN
        while self._left and self._addresses:
            exchange = self._next()
            if not exchange.gone:
                self._start(exchange)

    def _next(self) -> Exchange:
        address, heap = next(iter(self._addresses.items()))
        exchange = heapq.heappop(heap)[-1]
        if heap:
            self._addresses.move_to_end(address)
        else:
            del self._addresses[address]
        return exchange

    def _start(self, exchange: Exchange) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._turn)
        self._left -= 1
        self._begun += 1
        exchange.wire.turn = self._begun
        self._begin(exchange)
