"""Stories: changes of a store a minute apart, and what was read after each.

What is read of a past moment is compared with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from storage.store import Session, Store

SECOND_US: Final = 1_000_000
BEGIN_US: Final = 1_800_000_000 * SECOND_US

Work = Callable[[Session, int], Awaitable[object]]
Read = Callable[[Session], Awaitable[Any]]


async def told(store: Store, story: list[Work], read: Read) -> dict[int, Any]:
    """What was read after each step of a story, a minute apart, by half a minute after it."""
    found = {}
    for number, step in enumerate(story):
        at_us = BEGIN_US + number * 60 * SECOND_US
        await store.write(lambda s, step=step, at_us=at_us: step(s, at_us))  # type: ignore[misc]
        async with store.read() as s:
            found[at_us + 30 * SECOND_US] = await read(s)
    return found
