"""Limits the concurrent requests to one server; the others queue.

By class, the most urgent first; within a class the tenant that holds the fewest slots goes next,
among equals the one that took its last slot longest ago, and within a tenant the first to come: the
slots are shared max-min fairly (Bertsekas and Gallager 1992, "Data Networks", 6.5.2), without any
memory of what was used before. What a server computes for a slot is not known here. Imported by its
neighbours.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

QUEUE_LIMIT: Final = 1024


class Full(Exception):
    """The queue has reached its limit, and this tenant does not wait for less than the others."""


_Line = dict[asyncio.Future[None], float]
"""What waits of one tenant in one class, the oldest first, with the loop's time when it came."""


class Slots:
    """`used` slots are taken, `waiting` requests queue for one."""

    def __init__(self, limit: int) -> None:
        """`limit` is the number of slots."""
        self.limit = limit
        self.used = 0
        self.waiting = 0
        self._queue: dict[int, dict[str, _Line]] = {}
        self._waits: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._took: dict[str, int] = {}
        self._count = 0

    async def take(self, rank: int, tenant: str) -> None:
        """Take a slot, waiting for one if necessary; lower ranks first. Return it with `give`.

        Raises:
            Full: the queue is full, now or because another tenant has come that waits for less.
        """
        if self.used < self.limit and not self.waiting:
            self._hold(tenant)
            return
        if self.waiting >= QUEUE_LIMIT and not self._displaced(tenant):
            raise Full
        loop = asyncio.get_running_loop()
        slot: asyncio.Future[None] = loop.create_future()
        self._queue.setdefault(rank, {}).setdefault(tenant, {})[slot] = loop.time()
        self._waits[tenant] += 1
        self.waiting += 1
        try:
            await slot
        except asyncio.CancelledError:
            if slot in self._queue.get(rank, {}).get(tenant, {}):
                self._remove(rank, tenant, slot)
                self._forget(tenant)
            elif not slot.cancelled() and slot.exception() is None:
                self.give(tenant)  # it was assigned one just before it was cancelled
            raise

    def oldest(self) -> float | None:
        """When the request came that has waited longest, in the loop's time; None if none waits."""
        lines = (line for each in self._queue.values() for line in each.values())
        return min((next(iter(line.values())) for line in lines), default=None)

    def give(self, tenant: str) -> None:
        """Return a slot."""
        self.used -= 1
        self._held[tenant] -= 1
        self._admit()
        self._forget(tenant)

    def _hold(self, tenant: str) -> None:
        self.used += 1
        self._count += 1
        self._held[tenant] += 1
        self._took[tenant] = self._count

    def _remove(self, rank: int, tenant: str, slot: asyncio.Future[None]) -> None:
        lines = self._queue[rank]
        del lines[tenant][slot]
        if not lines[tenant]:
            del lines[tenant]
            if not lines:
                del self._queue[rank]
        self._waits[tenant] -= 1
        self.waiting -= 1

    def _admit(self) -> None:
        """Assign free slots to waiting requests."""
        while self._queue and self.used < self.limit:
            rank = min(self._queue)
            tenant = min(
                self._queue[rank], key=lambda each: (self._held[each], self._took.get(each, 0))
            )
            slot = next(iter(self._queue[rank][tenant]))
            self._remove(rank, tenant, slot)
            if slot.done():
                self._forget(tenant)  # it was cancelled, but has not run yet
            else:
                self._hold(tenant)
                slot.set_result(None)

    def _displaced(self, newcomer: str) -> bool:
        """Drop the newest request of the tenant that waits for most; whether that made room."""
        most = max(self._waits, key=lambda tenant: self._waits[tenant])
        if self._waits[most] <= self._waits[newcomer] + 1:
            return False
        rank = max(rank for rank, lines in self._queue.items() if most in lines)
        slot = next(reversed(self._queue[rank][most]))
        self._remove(rank, most, slot)
        if not slot.done():
            slot.set_exception(Full())
        self._forget(most)
        return True

    def _forget(self, tenant: str) -> None:
        """Forget a tenant that neither holds a slot nor waits for one."""
        if not self._held[tenant] and not self._waits[tenant]:
            for known in (self._held, self._waits, self._took):
                known.pop(tenant, None)
