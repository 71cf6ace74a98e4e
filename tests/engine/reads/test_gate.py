"""Snapshots leave a gap in which the log is written back, however they follow each other."""

from __future__ import annotations

import asyncio

from engine.reads.gate import Gate


async def test_users_who_take_turns_do_not_keep_the_log_growing() -> None:
    """One snapshot begins before the other ends: the log is written back while there is none."""
    size, inside, seen = 100, 0, list[int]()
    folded = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fold() -> bool:
        nonlocal size
        size = 0
        seen.append(inside)
        loop.call_soon_threadsafe(folded.set)
        return True

    gate = Gate(log_bytes=lambda: size, fold=fold, fold_bytes=50, look_s=0.0)

    async def take_turns(mine: asyncio.Event, other: asyncio.Event) -> None:
        nonlocal inside
        while not folded.is_set():
            async with gate.held():
                inside += 1
                mine.set()
                await asyncio.wait({asyncio.create_task(other.wait())}, timeout=0.05)
                other.clear()
                inside -= 1

    one, two = asyncio.Event(), asyncio.Event()
    keeping = asyncio.create_task(gate.keep())
    async with asyncio.timeout(60):
        await asyncio.gather(take_turns(one, two), take_turns(two, one))
    keeping.cancel()
    assert seen == [0]
    async with asyncio.timeout(60), gate.held():  # it is open again
        pass
