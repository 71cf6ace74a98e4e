"""The beat of a part: says once a second that its loop turns.

A timer of its own, which waits for nothing else: a store that another process holds must not make a
living part look dead to the node. A loop that hangs stops it. Imported by the parts' entries.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

EVERY_S: Final = 1.0


@contextlib.contextmanager
def kept(beat: Callable[[], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Call `beat` at once and then every second while the block runs; it must not wait."""
    task = asyncio.create_task(_beat(beat, every_s), name="beat")
    try:
        yield
    finally:
        task.cancel()


async def _beat(beat: Callable[[], None], every_s: float) -> None:
    while True:
        beat()
        await asyncio.sleep(every_s)
