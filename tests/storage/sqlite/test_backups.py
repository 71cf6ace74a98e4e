"""Backups beside a writer, and restores over whatever is there."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from storage import errors, migrations
from storage import store as stores
from storage.home import durable, identity, lock
from storage.home import paths as homes
from storage.home.identity import Identity
from storage.home.paths import Home
from storage.sqlite import backups
from tests import old_homes
from tests.storage import writer_process
from tests.storage.test_crashes import scribe


async def made(home: Home, rows: int = 1) -> str:
    """A store with some rows; its id."""
    store = await stores.open(home)
    for number in range(rows):
        await writer_process.accept(store, "sara", number)
    await store.close()
    return store.id


async def rows(home: Home) -> int:
    """How many the store of a home has, opened as the node opens it."""
    store = await stores.open(home)
    async with store.read() as session:
        found = await (await session.connection()).exec_driver_sql("SELECT count(*) FROM intents")
        count = int(found.scalar_one())
    assert await store.check() == []
    await store.close()
    return count


@contextmanager
def running(home: Home) -> Iterator[None]:
    """As if a node ran on it."""
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


async def test_a_backup_beside_a_writer_is_whole_and_delays_nobody(
    home: Home, tmp_path: Path
) -> None:
    """One snapshot: what was acknowledged before it is in it; writes continue meanwhile."""
    writer = await scribe(home, "node", 100_000)
    assert writer.stdout is not None
    told = [int(await writer.stdout.readline()) for _ in range(20)]
    to = tmp_path / "backup.db"
    copy = await asyncio.to_thread(stores.backup, home, to)
    told.append(int(await writer.stdout.readline()))
    writer.kill()
    await writer.wait()
    assert (copy.path, copy.schema) == (to, migrations.newest())
    assert identity.read(home) == Identity(copy.id)
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    with closing(sqlite3.connect(f"{to.as_uri()}?immutable=1", uri=True)) as bare:
        kept = {number for (number,) in bare.execute("SELECT id FROM intents")}
    assert set(told[:20]) <= kept
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("backup")] == [
        "backup.db"
    ]


async def test_a_backup_replaces_no_file_and_needs_a_store(home: Home, tmp_path: Path) -> None:
    """And what it cannot finish it removes."""
    with pytest.raises(errors.NotFound, match="nothing to back up"):
        stores.backup(home, tmp_path / "b")
    await made(home)
    (tmp_path / "b").write_text("mine")
    with pytest.raises(errors.AlreadyExists, match="another name"):
        stores.backup(home, tmp_path / "b")
    with pytest.raises(errors.Unavailable):
        stores.backup(home, tmp_path / "nowhere" / "b")
    home.database.unlink()
    with pytest.raises(errors.Vanished):
        stores.backup(home, tmp_path / "c")
    assert {path.name for path in tmp_path.iterdir()} == {"b", home.root.name}


async def test_a_backup_takes_nothing_that_others_have_put_beside_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the unfinished copy of another backup, nor a file that comes while it copies."""
    await made(home)
    theirs = tmp_path / "b.partial"
    theirs.write_text("theirs")
    with pytest.raises(errors.AlreadyExists, match="another copy is being made"):
        stores.backup(home, tmp_path / "b")
    assert theirs.read_text() == "theirs"
    (tmp_path / "c.partial").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.AlreadyExists, match="another copy is being made"):
        stores.backup(home, tmp_path / "c")
    assert (tmp_path / "c.partial").is_symlink()
    assert not (tmp_path / "elsewhere").exists()

    checked = backups._checked

    def slowly(path: Path) -> backups.Copy:
        (tmp_path / "d").write_text("mine")
        return checked(path)

    monkeypatch.setattr(backups, "_checked", slowly)
    with pytest.raises(errors.AlreadyExists, match="since this backup began"):
        stores.backup(home, tmp_path / "d")
    assert (tmp_path / "d").read_text() == "mine"
    assert not (tmp_path / "d.partial").exists()


async def test_a_restore_takes_the_place_of_a_store_that_is_gone(
    home: Home, tmp_path: Path
) -> None:
    """Also beside a running node, which takes it up; the file is its owner's alone."""
    await made(home)
    stores.backup(home, tmp_path / "b")
    home.database.unlink()
    home.root.chmod(homes.LOOKED_AT)
    with running(home):
        done = stores.restore(home, tmp_path / "b")
    assert (done.aside, await rows(home)) == (None, 1)
    assert stat.S_IMODE(home.database.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["empty", "garbage", "log of another"])
async def test_what_is_damaged_is_set_aside_without_a_question(
    home: Home, tmp_path: Path, damage: str
) -> None:
    """Nothing is deleted: the file and its log are found under names that belong together."""
    await made(home)
    stores.backup(home, tmp_path / "b")
    log, _ = homes.beside(home.database)
    if damage == "empty":
        os.truncate(home.database, 0)
    elif damage == "garbage":
        home.database.write_bytes(b"garbage" * 1000)
    else:
        home.database.unlink()
        log.write_bytes(b"\x37\x7f\x06\x82" + bytes(28))
    done = stores.restore(home, tmp_path / "b")
    assert done.aside is not None
    assert done.aside.exists()
    assert await rows(home) == 1
    assert not log.exists()


async def test_a_healthy_store_is_replaced_only_when_that_is_said(
    home: Home, tmp_path: Path
) -> None:
    """Never under a running node; what it had is found aside."""
    await made(home)
    stores.backup(home, tmp_path / "b")
    await made(home, rows=4)
    with pytest.raises(errors.AlreadyExists, match="--replace"):
        stores.restore(home, tmp_path / "b")
    with running(home), pytest.raises(errors.Unavailable, match="paddock stop"):
        stores.restore(home, tmp_path / "b", replace=True)
    assert await rows(home) == 5
    done = stores.restore(home, tmp_path / "b", replace=True)
    assert await rows(home) == 1
    assert done.aside is not None
    stores.restore(home, done.aside, replace=True)
    assert await rows(home) == 5


async def test_the_store_of_another_box_is_taken_only_when_that_is_said(
    home: Home, tmp_path: Path
) -> None:
    """A new home takes any: that is how a box moves to another machine."""
    other = homes.make(Home(tmp_path / "other"))
    theirs = await made(other, rows=3)
    stores.backup(other, tmp_path / "theirs")
    await made(home)
    home.database.unlink()
    with pytest.raises(errors.AlreadyExists, match="another box"):
        stores.restore(home, tmp_path / "theirs")
    with running(home), pytest.raises(errors.Unavailable, match="stop the node"):
        stores.restore(home, tmp_path / "theirs", replace=True)
    stores.restore(home, tmp_path / "theirs", replace=True)
    assert await rows(home) == 3
    assert (known := identity.read(home)) is not None
    assert known.store == theirs
    new = Home(tmp_path / "new")
    stores.restore(new, tmp_path / "theirs")
    assert await rows(new) == 3


async def test_a_file_that_was_put_there_by_hand_can_be_kept(home: Home, tmp_path: Path) -> None:
    """As the refusal of such a file says."""
    other = homes.make(Home(tmp_path / "other"))
    await made(other, rows=3)
    await made(home)
    shutil.copy(other.database, home.database)
    with pytest.raises(errors.Vanished, match="--replace") as refused:
        await stores.open(home)
    assert f"paddock restore {home.database} --replace" in str(refused.value)
    assert stores.restore(home, home.database, replace=True).aside is None
    assert await rows(home) == 3


async def test_what_is_no_backup_is_refused_and_changes_nothing(home: Home, tmp_path: Path) -> None:
    """Missing, a directory, garbage, cut short, another program's, of a newer Paddock."""
    await made(home, rows=50)
    stores.backup(home, tmp_path / "b")
    whole = (tmp_path / "b").read_bytes()
    bad = tmp_path / "bad"
    with closing(sqlite3.connect(tmp_path / "foreign")) as bare, bare:
        bare.execute("CREATE TABLE songs (id)")
    shutil.copy(tmp_path / "b", tmp_path / "newer")
    with closing(sqlite3.connect(tmp_path / "newer")) as bare, bare:
        bare.execute("INSERT INTO migrations VALUES (999, 'm0999_later', 1)")
    bad.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "garbage").write_bytes(b"x" * 9000)
    home.database.unlink()
    for name in ("bad", "garbage", "foreign", "missing", ".", "newer"):
        with pytest.raises((errors.Unreadable, errors.NotFound, errors.WrongSchema)):
            stores.restore(home, tmp_path / name)
    assert not home.database.exists()
    assert sorted(path.name for path in home.root.glob("paddock.db*")) == []


async def test_a_backup_from_before_there_were_ids_is_migrated_by_the_next_start(
    home: Home, tmp_path: Path
) -> None:
    """It gets an id then."""
    await made(home)
    home.database.unlink()
    stores.restore(home, old_homes.first_light(tmp_path / "old").database, replace=True)
    store = await stores.open(home)
    assert (known := identity.read(home)) is not None
    assert (known.store, known.restore is None) == (store.id, False)
    assert await store.check() == []
    await store.close()


def test_a_node_that_meets_a_restore_is_told_so(home: Home) -> None:
    """The process in the lock is no node that could be stopped."""
    with lock.kept_free(home.lock) as alone:
        assert alone
        with pytest.raises(lock.AlreadyRuns, match=f"A restore .process {os.getpid()}. is"):
            lock.take(home.lock)
        assert lock.holder(home.lock) is None
    os.close(lock.take(home.lock))


@pytest.mark.parametrize("at", range(5))
async def test_a_restore_that_is_killed_anywhere_can_be_done_again(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """In between the home has its old store, or says that its store is gone."""
    await made(home)
    stores.backup(home, tmp_path / "b")
    await made(home, rows=4)

    class Killed(Exception):
        """Where the process ended."""

    def cut(*_: object, **__: object) -> None:
        raise Killed

    synced = itertools.count(2)

    def sync(_: Path) -> None:
        if next(synced) == at:
            raise Killed

    module, name, killed = [
        (backups, "_set_aside", cut), (identity, "write", cut),
        *[(durable, "sync", sync)] * 3,  # of the copy, of home.json, of the directory
    ][at]  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(module, name, killed)
        with pytest.raises(Killed):
            stores.restore(home, tmp_path / "b", replace=True)
    if home.database.exists():
        assert await rows(home) == (1 if at == 4 else 5)
    else:
        with pytest.raises(errors.Vanished, match="paddock restore"):
            await stores.open(home)
    stores.restore(home, tmp_path / "b", replace=True)
    assert await rows(home) == 1
