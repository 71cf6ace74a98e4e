"""A store that vanishes, is emptied, replaced or put back under those who have it open."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from storage import errors, migrations
from storage import store as stores
from storage.home import identity
from storage.home import paths as homes
from storage.home.identity import Identity
from storage.home.paths import Home
from storage.migrations import Migration
from storage.sqlite import connections, presence
from storage.store import Store
from tests.storage import writer_process


@pytest.fixture
async def attached(home: Home) -> AsyncIterator[Store]:
    """A store with one row, open as the gateway has it."""
    made = await stores.open(home)
    await writer_process.accept(made, "sara", 0)
    await made.close()
    opened = await stores.attach(home)
    assert await count(opened) == 1
    yield opened
    await opened.close()


async def count(store: Store) -> int:
    """The rows there are."""
    async with store.read() as session:
        found = await (await session.connection()).exec_driver_sql("SELECT count(*) FROM intents")
        return int(found.scalar_one())


def copy(home: Home, to: Path) -> Path:
    """A consistent copy of the store, as a backup makes it."""
    with closing(sqlite3.connect(home.database)) as bare:
        bare.execute("VACUUM INTO ?", (str(to),))
    return to


async def refused(store: Store, match: str) -> None:
    """Neither read nor written, and known without either."""
    for _ in range(2):
        assert match in str(await store.missing())
        with pytest.raises(errors.Vanished, match=match):
            await count(store)
        with pytest.raises(errors.Vanished, match=match):
            await writer_process.accept(store, "sara", 1)


async def test_what_is_written_after_the_file_was_removed_is_refused(attached: Store) -> None:
    """The open connections could still write, into a file that no path leads to."""
    attached.home.database.unlink()
    await refused(attached, "paddock restore")
    assert not attached.home.database.exists()


async def test_a_file_that_comes_back_is_used_again(attached: Store, tmp_path: Path) -> None:
    """The same file, with the same connections; those who wait for a change look once."""
    home, away = attached.home, tmp_path / "away.db"
    await attached.changed()
    home.database.rename(away)
    assert [await attached.changed() for _ in range(2)] == [True, False]
    await refused(attached, "is gone")
    away.rename(home.database)
    assert await attached.missing() is None
    await writer_process.accept(attached, "sara", 1)
    assert (await count(attached), attached.replaced) == (2, 0)


async def test_a_home_that_is_renamed_and_renamed_back_loses_nothing(attached: Store) -> None:
    """While it is away nothing is made in its place."""
    root = attached.home.root
    root.rename(root.with_name("elsewhere"))
    await refused(attached, "is gone, moved or not mounted")
    assert not root.exists()
    root.with_name("elsewhere").rename(root)
    await writer_process.accept(attached, "sara", 1)
    assert await count(attached) == 2


async def test_an_emptied_file_is_no_store(attached: Store) -> None:
    """As a full disk or a redirection in a shell leaves it."""
    os.truncate(attached.home.database, 0)
    await refused(attached, "is empty")


async def test_a_copy_in_its_place_is_used_by_those_who_had_it_open(
    attached: Store, tmp_path: Path
) -> None:
    """A restore: the old file goes aside with its log, the copy takes its place."""
    home, backup = attached.home, copy(attached.home, tmp_path / "backup.db")
    await writer_process.accept(attached, "sara", 1)
    assert await count(attached) == 2
    for path in (home.database, *homes.beside(home.database)):
        path.rename(tmp_path / path.name)
    await refused(attached, "is gone")
    backup.rename(home.database)
    assert await attached.changed()
    assert (await count(attached), attached.replaced) == (1, 1)
    assert identity.read(home) == Identity(attached.id)
    await writer_process.accept(attached, "sara", 2)
    with closing(sqlite3.connect(tmp_path / home.database.name)) as aside:
        assert aside.execute("SELECT count(*) FROM intents").fetchone() == (2,)
    assert await count(attached) == 2
    assert await attached.check() == []


async def test_a_copy_beside_the_old_log_is_refused(attached: Store, tmp_path: Path) -> None:
    """SQLite would read the old log into the new file, and damage it."""
    backup = copy(attached.home, tmp_path / "backup.db")
    await writer_process.accept(attached, "sara", 1)
    attached.home.database.unlink()
    shutil.copy(backup, attached.home.database)
    await refused(attached, "beside paddock.db-wal")
    assert attached.home.database.read_bytes() == backup.read_bytes()


async def test_another_store_in_its_place_is_refused(attached: Store, tmp_path: Path) -> None:
    """Its services and keys are those of another box."""
    other = homes.make(Home(tmp_path / "other"))
    await (await stores.open(other)).close()
    home = attached.home
    for path in (home.database, *homes.beside(home.database)):
        path.rename(tmp_path / path.name)
    shutil.copy(other.database, home.database)
    await refused(attached, "another store")
    for opens in (stores.open, stores.attach):
        with pytest.raises(errors.Vanished, match="--replace"):
            await opens(home)


async def test_a_home_that_had_a_store_never_gets_an_empty_one(attached: Store) -> None:
    """Neither from the next start of the node nor from a process that it restarts."""
    home = attached.home
    await attached.close()
    kept = home.database.read_bytes()
    for left in ("gone", "empty"):
        home.database.unlink()
        if left == "empty":
            home.database.touch()
        for opens in (stores.open, stores.attach):
            with pytest.raises(errors.Vanished, match=f"is {left}.*paddock restore"):
                await opens(home)
        with pytest.raises(errors.Vanished):
            await stores.open(home, readonly=True)
        assert home.database.exists() == (left == "empty")
        home.database.write_bytes(kept)
    await (await stores.open(home)).close()


async def test_who_does_not_make_stores_waits_for_the_node_to_make_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so when none was made in time."""
    monkeypatch.setattr("storage.sqlite.store._MAKING_S", 0.0)
    with pytest.raises(errors.NotFound, match="paddock serve"):
        await stores.attach(home)
    assert (home.database.exists(), home.identity.exists()) == (False, False)


@pytest.mark.usefixtures("real_migrations")
async def test_a_first_start_that_is_killed_anywhere_is_finished_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the file, before any of its steps, and before the home has its id."""
    steps = migrations.every()
    states = 0
    for killed in range(len(steps) + 2):

        def every(killed: int = killed) -> list[Migration]:
            return steps[:killed]

        class Killed(Exception):
            """Where the process ended."""

        def cut(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(migrations, "every", every)
            patched.setattr(presence, "read_id", cut)
            if killed == 0:
                patched.setattr(connections, "create", cut)
            with pytest.raises(Killed):
                await stores.open(home)
        assert identity.read(home) == Identity()
        states += 1
        opened = await stores.open(home)
        await writer_process.accept(opened, "sara", 1)
        assert await count(opened) == 1
        await opened.close()
        assert identity.read(home) == Identity(opened.id)
        for path in (home.database, home.identity):
            path.unlink()
    assert states == len(steps) + 2


async def test_a_store_from_before_there_were_ids_gets_one(attached: Store) -> None:
    """A home without home.json is one: its store names it."""
    home = attached.home
    await attached.close()
    home.identity.unlink()
    reopened = await stores.open(home)
    assert (await count(reopened), identity.read(home)) == (1, Identity(reopened.id))
    await reopened.close()


async def test_a_damaged_home_json_says_what_to_do(attached: Store) -> None:
    """And following that advice works."""
    home = attached.home
    home.identity.write_text("{")
    with pytest.raises(errors.Unreadable, match=r"remove home\.json"):
        await stores.open(home)
    home.identity.unlink()
    await (await stores.open(home)).close()


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
async def test_what_is_no_file_is_a_sentence(home: Home, kind: str) -> None:
    """A FIFO would hang the process that opens it."""
    if kind == "fifo":
        os.mkfifo(home.database)
    elif kind == "directory":
        home.database.mkdir()
    else:
        home.database.symlink_to("nowhere")
    for readonly in (True, False):
        with pytest.raises(errors.Unreadable, match="paddock restore"):
            await stores.open(home, readonly=readonly)
