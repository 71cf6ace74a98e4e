"""Several generators of batches as one, for the choices of a job. Imported by its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from engine.execution.job import Event

BACKLOG: Final = 64
"""Batches that may wait for whoever reads; then the servers do."""

Batch = tuple[Event, ...]
_Queue = asyncio.Queue[Batch | Exception | None]


async def merged(choices: Sequence[AsyncGenerator[Batch, None]]) -> AsyncGenerator[Batch, None]:
    """What the choices yield, as it comes; the first that fails ends them all."""
    queue: _Queue = asyncio.Queue(BACKLOG)
    tasks = [asyncio.create_task(_forward(choice, queue)) for choice in choices]
    left = len(tasks)
    try:
        while left:
            items = await _available(queue)
            left -= items.count(None)
            batch = tuple(event for item in items if isinstance(item, tuple) for event in item)
            if batch:
                yield batch
            for item in items:
                if isinstance(item, Exception):
                    raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(choice: AsyncGenerator[Batch, None], queue: _Queue) -> None:
    """Put what a choice yields into the queue, then None, or why it failed."""
    try:
        async with contextlib.aclosing(choice):
            async for batch in choice:
                await queue.put(batch)
    except Exception as error:  # noqa: BLE001 whoever reads the queue raises it
        await queue.put(error)
    else:
        await queue.put(None)


async def _available(queue: _Queue) -> list[Batch | Exception | None]:
    """All that waits; at least one item."""
    items = [await queue.get()]
    while not queue.empty():
        items.append(queue.get_nowait())
    return items
