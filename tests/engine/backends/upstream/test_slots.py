"""The slots of an upstream: tenants share them, whatever each of them asks."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.backends.upstream import slots
from engine.backends.upstream.slots import Full, Slots

TURNS = 4
"""So many turns of the loop bring a task into the queue, or out of it."""


class Client:
    """Requests of tenants that hold their slots until a test returns them."""

    def __init__(self, limit: int) -> None:
        self.slots = Slots(limit)
        self.took: list[str] = []
        self.holding: dict[asyncio.Event, str] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, tenant: str, times: int = 1, rank: int = 0) -> None:
        """Ask for slots."""
        for _ in range(times):
            self.tasks.append(asyncio.create_task(self._one(tenant, rank)))
        await turns()

    async def end(self, number: int = 0) -> str:
        """End the request that has held a slot for longest, or a later one; its tenant."""
        event = list(self.holding)[number]
        tenant = self.holding[event]
        event.set()
        await turns()
        return tenant

    async def _one(self, tenant: str, rank: int) -> None:
        await self.slots.take(rank, tenant)
        self.took.append(tenant)
        event = asyncio.Event()
        self.holding[event] = tenant
        try:
            await event.wait()
        finally:
            del self.holding[event]
            self.slots.give(tenant)

    async def close(self) -> None:
        """Cancel what is left."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def turns() -> None:
    """Let the tasks run."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_a_tenant_takes_the_next_slot_although_a_flood_waits_before_it() -> None:
    """A hundred of another tenant's wait, which holds all slots."""
    client = Client(4)
    await client.ask("flood", 104)
    await client.ask("other")
    await client.end()
    assert client.took == ["flood"] * 4 + ["other"]
    await client.close()
    assert (client.slots.used, client.slots.waiting) == (0, 0)


async def test_two_tenants_that_always_ask_hold_half_of_the_slots_each() -> None:
    """Whichever came first, and however many wait; of one slot, they take turns."""
    client = Client(4)
    await client.ask("a", 40)
    await client.ask("b", 10)
    for _ in range(6):
        await client.end()
    assert sorted(client.holding.values()) == ["a", "a", "b", "b"]
    await client.close()
    single = Client(1)
    await single.ask("a", 4)
    await single.ask("b", 4)
    for _ in range(6):
        await single.end()
    assert single.took == ["a", "b", "a", "b", "a", "b", "a"]
    await single.close()


async def test_a_full_queue_has_room_for_a_tenant_that_waits_for_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The newest of the one with the most waiting leaves it; that one itself is refused."""
    monkeypatch.setattr(slots, "QUEUE_LIMIT", 5)
    client = Client(1)
    await client.ask("flood", 6)
    await client.ask("flood")
    with pytest.raises(Full):
        client.tasks[6].result()
    await client.ask("other")
    with pytest.raises(Full):
        client.tasks[5].result()
    assert client.slots.waiting == 5
    await client.end()
    assert client.took == ["flood", "other"]
    await client.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 2))))
@example([("c", 0, 0), ("a", 0, 2), ("c", 1, 2), ("b", 1, 2), ("b", 0, 2), ("c", 2, 1)])
def test_no_slot_is_lost_whatever_is_asked_ended_and_cancelled(
    moves: list[tuple[str, int, int]],
) -> None:
    """Every waiting request gets a slot or an error, and all slots are free in the end."""

    async def play() -> None:
        client = Client(2)
        for number, (tenant, rank, what) in enumerate(moves):
            if what == 0 and client.holding:
                await client.end(number % len(client.holding))
            elif what == 1 and client.tasks:
                task = client.tasks[number % len(client.tasks)]
                task.cancel()
                await turns()
            else:
                await client.ask(tenant, rank=rank)
            used, waiting = client.slots.used, client.slots.waiting
            assert used == len(client.holding) == min(2, used + waiting)
        await client.close()
        assert (client.slots.used, client.slots.waiting) == (0, 0)
        assert not client.slots._waits | client.slots._held
        assert not client.slots._took

    asyncio.run(play())
