"""The bound on requests that are with one server at a time, and the queue for a place.

The most urgent class goes first, first come first served within it. Imported by its neighbours.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Final

QUEUE_LIMIT: Final = 1024


class Full(Exception):
    """The queue is as long as it may be."""


class Slots:
    """`used` requests have a place, `waiting` are in the queue."""

    def __init__(self, limit: int) -> None:
        """So many places."""
        self.limit = limit
        self.used = 0
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return sum(not future.done() for _, _, future in self._queue)

    async def take(self, rank: int) -> None:
        """Wait for a place; lower ranks first. Give it back with `give`.

        Raises:
            Full: the queue is full.
        """
        if self.used < self.limit and not self.waiting:
            self.used += 1
            return
        if self.waiting >= QUEUE_LIMIT:
            raise Full
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._queue, (rank, self._count, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given one while it was cancelled
                self.give()
            raise

    def give(self) -> None:
        """Give a place back."""
        self.used -= 1
        self.admit()

    def resize(self, limit: int) -> None:
        """Change the bound; those who have a place keep it."""
        self.limit = limit
        self.admit()

    def admit(self) -> None:
        """Hand free places to those who wait."""
        while self._queue and self.used < self.limit:
            _, _, place = heapq.heappop(self._queue)
            if not place.done():
                self.used += 1
                place.set_result(None)
