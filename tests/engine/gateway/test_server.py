"""A gateway in this process, from start to end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path

from engine.gateway import server
from engine.gateway.http import address
from storage import store as stores
from storage.home import config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runtime.reporting import Reports


async def test_what_lives_as_long_as_the_gateway_is_not_searched_for_garbage(
    tmp_path: Path,
) -> None:
    """A full collection of a hundred thousand objects would stop every stream for 50 ms."""
    home = homes.make(Home(tmp_path / "home"))
    await (await stores.open(home)).close()
    said: asyncio.Queue[str] = asyncio.Queue()
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    loop.add_reader(reading, lambda: said.put_nowait(os.read(reading, 4096).decode()))
    try:
        gateway = server.Gateway(home, config.load(home), Reports(writing))
        serving = asyncio.create_task(gateway.run(address.listen("127.0.0.1", 0)))
        async with asyncio.timeout(20):
            while "ready" not in await said.get():
                pass
        frozen = gc.get_freeze_count()
        signal.raise_signal(signal.SIGTERM)
        await serving
        assert frozen > len(gc.get_objects())
    finally:
        gc.unfreeze()
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)
