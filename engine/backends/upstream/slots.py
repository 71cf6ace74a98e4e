"""Limits the concurrent requests to one server; the others queue.

By class, the most urgent first, and in order of arrival within a class. Imported by its neighbours.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Final

QUEUE_LIMIT: Final = 1024


class Full(Exception):
    """The queue has reached its limit."""


class Slots:
    """`used` slots are taken, `waiting` requests queue for one."""

    def __init__(self, limit: int) -> None:
        """`limit` is the number of slots."""
        self.limit = limit
        self.used = 0
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    @property
    def waiting(self) -> int:
        """The length of the queue."""
        return sum(not future.done() for _, _, future in self._queue)

    async def take(self, rank: int) -> None:
        """Take a slot, waiting for one if necessary; lower ranks first. Return it with `give`.

        Raises:
            Full: the queue is full.
        """
        if self.used < self.limit and not self.waiting:
            self.used += 1
            return
        if self.waiting >= QUEUE_LIMIT:
            raise Full
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._queue, (rank, self._count, slot))
        try:
            await slot
        except asyncio.CancelledError:
            if (
                slot.done() and not slot.cancelled()
            ):  # it was assigned one just before it was cancelled
                self.give()
            raise

    def give(self) -> None:
        """Return a slot."""
        self.used -= 1
        self._admit()

    def _admit(self) -> None:
        """Assign free slots to waiting requests."""
        while self._queue and self.used < self.limit:
            _, _, slot = heapq.heappop(self._queue)
            if not slot.done():
                self.used += 1
                slot.set_result(None)
