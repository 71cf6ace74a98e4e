"""The store: snapshots, one writer, all or nothing, and what other processes see of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import stat
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, processes
from storage import store as stores
from storage.control_socket import nudges
from storage.home.paths import Home
from storage.samples import SampleRow
from storage.store import Session, Store


async def note(s: AsyncSession, pid: int = 1) -> None:
    """Write any one row."""
    await processes.node_started(s, pid=pid, at_us=1, host="box01", version="0")


async def notes(store: Store) -> list[int]:
    """The rows that `note` wrote."""
    async with store.read() as s:
        found = await s.execute(text("SELECT pid FROM nodes ORDER BY id"))
        return [row[0] for row in found]


@contextlib.asynccontextmanager
async def another(home: Home, *, readonly: bool = False) -> AsyncIterator[Store]:
    """A second store on the same home."""
    opened = await stores.open(home, readonly=readonly)
    try:
        yield opened
    finally:
        await opened.close()


async def test_what_was_written_is_read(store: Store) -> None:
    """A write returns what its work returns, and is stored by then."""

    async def work(s: AsyncSession) -> str:
        await note(s, 7)
        return "done"

    assert await store.write(work) == "done"
    assert await notes(store) == [7]


async def test_a_read_is_one_snapshot(store: Store) -> None:
    """During a read nothing changes, although others write in the meantime."""
    count = text("SELECT count(*) FROM nodes")
    async with store.read() as s:
        before = (await s.execute(count)).scalar()
        await store.write(note)
        assert (await s.execute(count)).scalar() == before == 0
    assert await notes(store) == [1]


async def test_a_reader_cannot_write(store: Store) -> None:
    """A screen that has a bug still changes nothing."""
    with pytest.raises(errors.Unavailable, match="readonly"):
        async with store.read() as s:
            await note(s)
    assert await notes(store) == []


async def test_a_number_that_sqlite_cannot_hold_is_refused(store: Store) -> None:
    """People type the numbers of jobs and alerts; the connection can be used on."""
    async with store.read() as s:
        with pytest.raises(errors.Invalid, match="exceeds 9223372036854775807"):
            await s.execute(text("SELECT :number"), {"number": 2**63})
        assert (await s.execute(text("SELECT 1"))).scalar() == 1
    with pytest.raises(errors.Invalid):
        await store.write(lambda s: note(s, 2**63))
    await store.write(note)


async def test_a_write_holds_the_lock_before_it_looks(home: Home, store: Store) -> None:
    """What a write has read cannot be overtaken by another process before it commits."""

    async def work(s: AsyncSession) -> str:
        await s.execute(text("SELECT count(*) FROM nodes"))
        with (
            contextlib.closing(sqlite3.connect(home.database, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked") as caught,
        ):
            other.execute(
                "INSERT INTO nodes (pid, started_at_us, host, version) VALUES (1,1,'','')"
            )
        return str(caught.value)

    assert "locked" in await store.write(work)


async def test_a_write_is_all_or_nothing(store: Store) -> None:
    """Whatever the work raises reaches the caller, and nothing of it stays."""

    async def work(s: AsyncSession) -> None:
        await note(s)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(work)
    assert await notes(store) == []
    await store.write(note)
    assert await notes(store) == [1]


async def test_writes_of_a_process_take_turns(store: Store) -> None:
    """However many tasks write at once, each sees what those before it wrote."""

    async def work(s: AsyncSession) -> None:
        seen = (await s.execute(text("SELECT count(*) FROM nodes"))).scalar() or 0
        await note(s, seen)

    await asyncio.gather(*(store.write(work) for _ in range(50)))
    assert await notes(store) == list(range(50))


async def test_a_write_inside_a_write_is_an_error_not_a_deadlock(store: Store) -> None:
    """It would wait for itself for ever; so it fails at once."""

    async def work(_: AsyncSession) -> None:
        await store.write(note)

    with pytest.raises(RuntimeError, match="inside a write"):
        await store.write(work)


async def test_who_stops_waiting_does_not_stop_the_others(store: Store) -> None:
    """A cancelled writer's work is not begun, or finished whole; the next writes go on."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(s: AsyncSession) -> None:
        await note(s, 1)
        begun.set()
        await go_on.wait()

    first = asyncio.create_task(store.write(slow))
    await begun.wait()
    second = asyncio.create_task(store.write(lambda s: note(s, 2)))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    go_on.set()
    await asyncio.gather(first, second, return_exceptions=True)
    await store.write(lambda s: note(s, 3))
    assert await notes(store) == [1, 3]


async def test_work_that_is_cancelled_from_inside_ends_alone(store: Store) -> None:
    """The writer outlives what it carries out."""

    async def work(_: AsyncSession) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await store.write(work)
    await store.write(note)
    assert await notes(store) == [1]


async def test_a_cancelled_read_leaves_the_store_usable(store: Store) -> None:
    """A screen that is closed in the middle of a read does no harm, however often."""

    async def look() -> None:
        async with store.read() as s:
            await s.execute(text("SELECT count(*) FROM nodes"))
            await asyncio.Event().wait()

    for _ in range(10):
        task = asyncio.create_task(look())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.write(note)
    assert await notes(store) == [1]


async def test_durable_writes_wait_for_the_disk(store: Store) -> None:
    """Moves and intents with synchronous=FULL, measurements with NORMAL, turn by turn."""

    async def work(s: AsyncSession) -> int:
        return int((await s.execute(text("PRAGMA synchronous"))).scalar_one())

    asked = [True, False, False, True]
    assert [await store.write(work, durable=each) for each in asked] == [2, 1, 1, 2]


async def test_changes_are_seen_once(home: Home, store: Store) -> None:
    """`changed` tells of every write since it was asked last, of this process or another."""
    async with another(home) as other:
        assert await store.changed() is False
        await store.write(note)
        assert await store.changed() is True
        assert await store.changed() is False
        await other.write(note)
        assert await store.changed() is True
        assert await store.changed() is False


async def test_a_write_nudges_who_listens(home: Home, store: Store) -> None:
    """After the commit, and not for measurements; a failed write sends no nudge."""
    with nudges.listen(home, "screen") as listener:
        await store.write(note, nudge=False)
        assert await listener.wait(0) is False
        await store.write(note)
        await store.write(note)
        assert await listener.wait(60) is True
        assert await listener.wait(0) is False


def test_nudges_reach_the_living_and_ignore_the_dead(home: Home) -> None:
    """A killed listener's socket stays until the node's next start sweeps it away."""
    left = nudges.listen(home, "killed")
    left._socket.close()
    with nudges.listen(home, "alive"):
        nudges.send(home)
        nudges.sweep(home)
        assert [path.name for path in home.run.glob("*.nudge")] == ["alive.nudge"]
    assert list(home.run.glob("*.nudge")) == []


async def test_files_are_their_owners_alone(home: Home, store: Store) -> None:
    """The database and its companions are 0600 whatever the umask."""
    await store.write(note)
    files = [path for path in home.root.iterdir() if path.name.startswith("paddock.db")]
    assert {path.name for path in files} == {"paddock.db", "paddock.db-wal", "paddock.db-shm"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


async def test_the_last_to_leave_folds_the_log_into_the_file(home: Home) -> None:
    """A box that was stopped is one file, easy to copy."""
    async with another(home) as store:
        await store.write(note)
        assert await notes(store) == [1]
    left = [path.name for path in home.root.iterdir() if path.name.startswith("paddock.db")]
    assert left == ["paddock.db"]


async def test_a_home_may_be_called_anything(tmp_path: Path) -> None:
    """Signs that mean something in an address are only letters in a path."""
    odd = Home(tmp_path / "ho me?mode=rw#%41é")
    async with another(odd) as store, another(odd, readonly=True) as reading:
        await store.write(note)
        assert await notes(reading) == [1]
    assert odd.database.exists()


async def test_a_readonly_store_reads_beside_a_writer_and_after_it(home: Home) -> None:
    """A terminal attaches to a box that runs, and to one that was stopped."""
    async with another(home) as writing:
        await writing.write(note)
        async with another(home, readonly=True) as reading:
            assert await notes(reading) == [1]
            with pytest.raises(errors.Unavailable, match="for reading"):
                await reading.write(note)
    async with another(home, readonly=True) as reading:
        assert await notes(reading) == [1]


async def test_reading_where_there_is_no_box_says_how_to_get_one(home: Home) -> None:
    """And creates none."""
    with pytest.raises(errors.NotFound, match="paddock serve"):
        await stores.open(home, readonly=True)
    assert not home.database.exists()


async def test_a_file_that_is_no_database_is_reported_and_left_alone(home: Home) -> None:
    """A damaged file may be valuable: it is never overwritten."""
    home.database.write_bytes(b"not a database at all, but long enough to look like one" * 50)
    before = home.database.read_bytes()
    for readonly in (True, False):
        with pytest.raises(errors.Unreadable, match="move it away"):
            await stores.open(home, readonly=readonly)
    assert home.database.read_bytes() == before


async def test_damage_inside_is_found_by_the_check(home: Home) -> None:
    """The node asks at its start; a page of zeros in the middle does not go unseen."""
    async with another(home) as store:
        for pid in range(200):
            await store.write(lambda s, pid=pid: note(s, pid))  # type: ignore[misc]
        assert await store.check() == []
    with contextlib.closing(sqlite3.connect(home.database)) as whole:
        whole.execute("PRAGMA journal_mode=DELETE")
        page = whole.execute("SELECT rootpage FROM sqlite_schema WHERE name='nodes'").fetchone()[0]
    with home.database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    async with another(home, readonly=True) as store:
        assert await store.check() != []


async def test_a_waiter_is_woken_by_another_process_and_not_without_one(home: Home) -> None:
    """By a nudge, or within a second without one; a wait that ends by the clock says so."""
    async with another(home) as writer, another(home, readonly=True) as reader:
        await reader.changed()
        assert not await reader.wait_changed(0)
        for nudge in (True, False):
            waiting = asyncio.create_task(reader.wait_changed(30))
            await writer.write(note, nudge=nudge)
            assert await waiting
        assert not await reader.wait_changed(0)
    assert not list(home.run.glob("store-*"))
    with pytest.raises(errors.Unavailable, match="closed"):
        await reader.wait_changed(0)


async def test_an_upsert_adds_rows_and_updates_those_that_are_there(store: Store) -> None:
    """By their key; columns outside the key take the new values."""

    async def work(s: Session) -> list[tuple[str, str]]:
        row = {"kind": "host", "second": 1, "subject": "a", "body": "1"}
        await stores.upsert(s, SampleRow, [], key=("kind",))
        for rows in ([row], [row | {"body": "2"}, row | {"subject": "b"}]):
            await stores.upsert(s, SampleRow, rows, key=("kind", "second", "subject"))
        found = await s.execute(text("SELECT subject, body FROM samples ORDER BY subject"))
        return [(subject, body) for subject, body in found]

    assert await store.write(work) == [("a", "2"), ("b", "1")]


async def test_a_closed_store_says_so(home: Home) -> None:
    """Closing twice is fine, and what was queued before is written."""
    store = await stores.open(home)
    queued = asyncio.create_task(store.write(note))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    await queued
    with pytest.raises(errors.Unavailable, match="closed"):
        await store.write(note)
    threads = threading.active_count()
    with pytest.raises(errors.Unavailable, match="closed"):
        async with store.read():
            pytest.fail("a closed store was opened again")
    assert threading.active_count() == threads


async def test_a_lock_that_is_held_too_long_is_reported(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a process that was stopped in the middle of a write is bounded."""
    monkeypatch.setattr("storage.sqlite.connections.BUSY_S", 0.01)
    async with another(home) as store:
        with contextlib.closing(sqlite3.connect(home.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.Busy, match="Try again"):
                await store.write(note)
            other.execute("ROLLBACK")
        await store.write(note)
        assert await notes(store) == [1]


async def test_many_processes_may_open_a_new_home_at_once(home: Home) -> None:
    """Node, gateway and control start together; one migrates, the others find it done."""
    shutil.rmtree(home.root)
    program = (
        "import asyncio, pathlib\n"
        "from storage import store\n"
        "from storage.home import paths\n"
        "async def main():\n"
        f"    opened = await store.open(paths.Home(pathlib.Path({str(home.root)!r})))\n"
        "    await opened.close()\n"
        "asyncio.run(main())\n"
    )
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(3)
    ]
    assert [await each.wait() for each in started] == [0, 0, 0]
    async with another(home, readonly=True) as store:
        assert await store.check() == []
