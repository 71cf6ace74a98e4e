"""Long lists are read a few rows at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import select

from storage import keys
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import streams
from storage.store import Session
from tests import home_fixtures


async def test_other_tasks_run_while_a_long_list_is_converted(tmp_path: Path) -> None:
    """Between two chunks, so that a list of any length keeps the loop for one chunk at a time."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))

    async def fill(s: Session) -> None:
        for number in range(3 * streams.CHUNK):
            await home_fixtures.add_key(s, f"key{number}")

    await store.write(fill)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async with store.read() as s:
        at_row = [turns async for _ in stores.stream(s, select(keys.KeyRow))]
    counting.cancel()
    await store.close()
    assert len(at_row) == 3 * streams.CHUNK
    assert at_row[0] < at_row[streams.CHUNK] < at_row[2 * streams.CHUNK]
