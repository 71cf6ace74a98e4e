"""A store at rest, read by a user who may not write beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage import errors
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import offline_read
from storage.store import Store
from tests.storage import writer_process

_ACCESS = os.access


@pytest.fixture
async def resting(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A store with one row that no process has open, for a user who only reads."""
    store = await stores.open(home)
    await writer_process.accept(store, "scribe", 0)
    await store.close()

    def looks(path: Path, mode: int) -> bool:
        return mode != os.W_OK and _ACCESS(path, mode)

    monkeypatch.setattr(os, "access", looks)
    return home


async def count(store: Store) -> int:
    """The rows there are."""
    async with store.read() as session:
        found = await (await session.connection()).exec_driver_sql("SELECT count(*) FROM intents")
        return int(found.scalar_one())


async def test_it_is_read_and_nothing_is_made_beside_it(resting: Home) -> None:
    """As it is, without locks; nothing has changed, so it is not read again."""
    store = await stores.open(resting, readonly=True)
    assert await count(store) == 1
    assert not await store.changed()
    assert not any(path.exists() for path in homes.beside(resting.database))
    await store.close()


async def test_a_reader_at_rest_continues_when_the_node_starts(resting: Home) -> None:
    """The same open store then reads with locks, and sees what is new."""
    looking = await stores.open(resting, readonly=True)
    writing = await stores.open(resting)
    await writer_process.accept(writing, "scribe", 1)
    assert await looking.changed()
    assert await count(looking) == 2
    await looking.changed()
    assert not await looking.changed()
    await writer_process.accept(writing, "scribe", 2)
    assert await looking.changed()
    assert await count(looking) == 3
    await looking.close()
    await writing.close()


async def test_a_read_during_which_the_store_was_opened_does_not_count(resting: Home) -> None:
    """It had no lock, so what it saw may not fit together; the next one does."""
    looking = await stores.open(resting, readonly=True)
    with pytest.raises(errors.Busy, match="try again"):
        async with looking.read():
            writing = await stores.open(resting)
    assert await count(looking) == 1
    await looking.close()
    await writing.close()


async def test_a_store_that_was_opened_and_closed_meanwhile_is_noticed(resting: Home) -> None:
    """Its log came and went; the file is another one."""
    found = offline_read.find(resting)
    assert found is not None
    writing = await stores.open(resting)
    await writer_process.accept(writing, "scribe", 1)
    await writing.close()
    assert found.opened()
    resting.database.unlink()
    assert found.opened()


@pytest.mark.skipif(os.getuid() == 0, reason="root makes the index anew")
async def test_a_log_without_its_index_is_reported(resting: Home) -> None:
    """A process was killed between two files: an error without a traceback until then."""
    log, _ = homes.beside(resting.database)
    log.touch()
    resting.root.chmod(0o500)
    try:
        with pytest.raises(errors.Unavailable, match="try again"):
            await stores.open(resting, readonly=True)
    finally:
        resting.root.chmod(0o700)
