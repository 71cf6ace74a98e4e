"""Parts beat while another process holds the store: their loops turn, so they live."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.control import __main__ as control
from engine.gateway import server
from engine.gateway.http import address
from runbooks import __main__ as runner
from storage.home import config
from storage.home.paths import Home
from storage.releases import Engine
from storage.runtime.reporting import Reports
from storage.sqlite import connections
from tests import home_fixtures

FOR_EVER_S = 3600.0


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A furnished box whose parts would wait for the store for ever."""
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"GGUF")
    engine = Engine(context_tokens=64, max_sequences=1, threads=1)
    box = await home_fixtures.furnish(tmp_path / "home", weights=weights, engine=engine)
    monkeypatch.setattr(connections, "BUSY_S", FOR_EVER_S)
    return box.home


@contextmanager
def holding(home: Home) -> Iterator[None]:
    """The store's one place for a writer is taken."""
    with closing(sqlite3.connect(home.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def listened_to() -> Iterator[tuple[Reports, asyncio.Queue[str]]]:
    """Status lines of a part, and the queue in which they arrive."""
    said: asyncio.Queue[str] = asyncio.Queue()
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    loop.add_reader(reading, lambda: said.put_nowait(os.read(reading, 4096).decode()))
    try:
        yield Reports(writing), said
    finally:
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)


async def lives(part: Coroutine[Any, Any, None], home: Home, said: asyncio.Queue[str]) -> int:
    """Let a part become ready and hold the store; how often it beats then, three times at most."""
    beats = 0
    with holding(home):
        task = asyncio.create_task(part)
        async with asyncio.timeout(60):
            while "ready" not in await said.get():
                pass
            while beats < 3:
                beats += "beat" in await said.get()
    signal.raise_signal(signal.SIGTERM)
    await task
    return beats


async def test_control_beats(home: Home) -> None:
    """Neither its samples nor what it takes back at its start are waited for."""
    with listened_to() as (reports, said):
        assert await lives(control._live(home, reports), home, said) == 3


async def test_the_runner_beats(home: Home) -> None:
    """Nor what runs note."""
    with listened_to() as (reports, said):
        assert await lives(runner._live(home, reports), home, said) == 3


async def test_the_gateway_beats(home: Home) -> None:
    """Nor its rows: those of a quiet arm come every four seconds."""
    with listened_to() as (reports, said):
        gateway = server.Gateway(home, config.load(home), reports)
        listening = address.listen("127.0.0.1", 0)
        assert await lives(gateway.run(listening), home, said) == 3
