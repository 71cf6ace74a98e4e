"""Merges the batches of a job's choices into one stream. Imported by its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from engine.execution.job import Event

BACKLOG: Final = 64
"""Batches buffered for a slow reader before the servers are held up."""

Batch = tuple[Event, ...]
_Queue = asyncio.Queue[Batch | Exception | None]


async def merged(choices: Sequence[AsyncGenerator[Batch, None]]) -> AsyncGenerator[Batch, None]:
    """The batches of all choices as they arrive; the first failure cancels the rest."""
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
    except Exception as error:  # noqa: BLE001 raised again by `merged`
        await queue.put(error)
    else:
        await queue.put(None)


async def _available(queue: _Queue) -> list[Batch | Exception | None]:
    """Everything in the queue; waits for at least one item."""
    items = [await queue.get()]
    while not queue.empty():
        items.append(queue.get_nowait())
    return items
