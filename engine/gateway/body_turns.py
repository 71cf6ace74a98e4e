"""When large bodies are worked on: one in each turn of the event loop, keys in turn.

Decoding a megabyte takes about a millisecond in which nothing else happens. Bodies that arrive
together would keep all streams waiting for the sum of it. Small ones never wait. Imported by
`engine.gateway.bodies`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final

SMALL: Final = 32 * 1024
"""Bytes of a body that is worked on at once."""


class BodyTurns:
    """The large bodies of one gateway that wait."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._keys: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()
        self._due = False  # the next turn is scheduled; it is whenever something waits

    async def wait(self, key: int, size: int) -> None:
        """Return when it is the turn of a body of a key."""
        if size <= SMALL:
            return
        loop = asyncio.get_running_loop()
        if not self._due:
            self._due = True
            loop.call_soon(self._turn)
            return
        turn = loop.create_future()
        self._keys.setdefault(key, deque()).append(turn)
        await turn

    def _turn(self) -> None:
        """Let the next one that still waits begin."""
        self._due = False
        while self._keys and not self._due:
            key, waiting = self._keys.popitem(last=False)
            turn = waiting.popleft()
            if waiting:
                self._keys[key] = waiting
            if not turn.done():  # its request was cancelled
                turn.set_result(None)
                self._due = True
                asyncio.get_running_loop().call_soon(self._turn)
