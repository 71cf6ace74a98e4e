"""Large bodies are worked on one in each turn of the event loop, keys in turn."""

from __future__ import annotations

import asyncio

from engine.gateway.body_turns import SMALL, BodyTurns

LARGE = SMALL + 1


class Loop:
    """Counts the turns of the loop, and notes in which of them each body was worked on."""

    def __init__(self) -> None:
        self.turns = BodyTurns()
        self.turn = 0
        self.worked: list[tuple[str, int]] = []
        self._ticking = True
        asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        self.turn += 1
        if self._ticking:
            asyncio.get_running_loop().call_soon(self._tick)

    def stop(self) -> None:
        """Count no more."""
        self._ticking = False

    async def work(self, name: str, key: int, size: int) -> None:
        """One body."""
        await self.turns.wait(key, size)
        self.worked.append((name, self.turn))


async def test_no_two_large_bodies_are_worked_on_in_one_turn() -> None:
    """Whatever arrives together: a stream waits for one of them, not for all."""
    loop = Loop()
    await asyncio.gather(*(loop.work(str(n), 1, LARGE) for n in range(20)))
    loop.stop()
    turns = [turn for _, turn in loop.worked]
    assert [name for name, _ in loop.worked] == [str(n) for n in range(20)]
    assert len(set(turns)) == 20


async def test_a_small_body_never_waits() -> None:
    """Although large ones do."""
    loop = Loop()
    large = [asyncio.create_task(loop.work(str(n), 1, LARGE)) for n in range(9)]
    await asyncio.sleep(0)
    await loop.work("small", 2, SMALL)
    assert len(loop.worked) == 2
    await asyncio.gather(*large)
    loop.stop()


async def test_keys_take_turns() -> None:
    """A large body of a quiet key waits for one of each other key, not for a crowd of one."""
    loop = Loop()
    crowd = [asyncio.create_task(loop.work("crowd", 1, LARGE)) for _ in range(50)]
    await asyncio.sleep(0)
    await loop.work("quiet", 2, LARGE)
    names = [name for name, _ in loop.worked]
    assert names.index("quiet") <= 3
    await asyncio.gather(*crowd)
    loop.stop()


async def test_what_was_cancelled_takes_no_turn() -> None:
    """Its client has gone; those behind it are let in."""
    loop = Loop()
    tasks = [asyncio.create_task(loop.work(str(n), 1, LARGE)) for n in range(6)]
    await asyncio.sleep(0)
    for task in tasks[1:5]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop.stop()
    assert [name for name, _ in loop.worked] == ["0", "5"]
    await loop.work("later", 1, LARGE)
