"""The heartbeat of a process: reports once a second that its event loop runs.

A separate timer, so that a store locked by another process does not make a live process look dead
to the node; a hung loop stops it. Imported by the entry points.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

EVERY_S: Final = 1.0


@contextlib.contextmanager
def kept(beat: Callable[[], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Call `beat` immediately and then every second during the block; it must not block."""
    task = asyncio.create_task(_beat(beat, every_s), name="beat")
    try:
        yield
    finally:
        task.cancel()


async def _beat(beat: Callable[[], None], every_s: float) -> None:
    while True:
        beat()
        await asyncio.sleep(every_s)
