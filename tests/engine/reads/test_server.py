"""Members of the group read the store through the node, and cannot hold up those who write."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import math
import os
import sqlite3
import stat
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from engine.reads import members
from engine.reads.server import PER_USER, Bounds, Server
from storage import errors, intents, keys
from storage import store as stores
from storage.home import access
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import guarded_reads, read_protocol, remote_reads
from storage.store import Store
from tests import home_fixtures, other_users
from tests.other_users import User
from tests.storage import writer_process

GROUP = next(each for each in grp.getgrall() if each.gr_gid)
MEMBER = User(61_401, (GROUP.gr_gid,))


@pytest.fixture
def home() -> Iterator[Home]:
    """A home where others can reach it."""
    with other_users.open_directory() as place:
        made = homes.make(Home(place / "home"))
        yield made


@asynccontextmanager
async def reads(
    home: Home,
    bounds: Bounds = Bounds(),  # noqa: B008 frozen
    processes: int = members.PROCESSES,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Store]:
    """The store as its owner has it open, while the group may read it."""
    store = await stores.open(home)
    await writer_process.accept(store, "scribe", 0)
    gid = GROUP.gr_gid if os.getuid() == 0 else os.getegid()
    access.admit(home, gid)
    server = Server(home, gid, bounds=bounds, processes=processes, monotonic_s=monotonic_s)
    await server.start()
    try:
        yield store
    finally:
        await server.close()
        await store.close()


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process reads as a member does."""
    monkeypatch.setattr(access, "owns", lambda _: False)


async def ask(home: Home, *statements: str, timeout_s: float = 20.0) -> list[Any]:
    """Statements on one connection, in a thread; what each gave, or its error."""

    def run() -> list[Any]:
        with contextlib.closing(remote_reads.Connection(home, timeout_s=timeout_s)) as connection:
            said: list[Any] = []
            for statement in statements:
                try:
                    said.append(connection.execute(statement).fetchall())
                except sqlite3.OperationalError as error:
                    said.append(error)
            return said

    return await asyncio.to_thread(run)


async def test_the_store_is_read_as_its_owner_reads_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same functions, in snapshots, with changes noticed."""
    loop = asyncio.get_running_loop()

    async def look(owner: Store) -> None:
        def more(number: int) -> None:
            writing = writer_process.accept(owner, "scribe", number)
            asyncio.run_coroutine_threadsafe(writing, loop).result(20)

        store = await stores.open(home, readonly=True)
        async with store.read() as s:
            assert [each.actor for each in await intents.tail(s, limit=9)] == ["scribe"]
            assert [key.name for key in await keys.every(s)] == ["sara"]
            more(1)
            assert len(await intents.tail(s, limit=9)) == 1  # the same snapshot
        assert await store.changed()
        async with store.read() as s:
            assert len(await intents.tail(s, limit=9)) == 2
        await store.changed()
        assert not await store.changed()
        with pytest.raises(errors.Unavailable, match="for reading"):
            await store.write(lambda s: intents.tail(s, limit=1))
        await store.close()

    async with reads(home) as owner:
        await owner.write(lambda s: home_fixtures.add_key(s, "sara"))
        monkeypatch.setattr(access, "owns", lambda _: False)
        await asyncio.to_thread(asyncio.run, look(owner))
    with pytest.raises(errors.NodeIsDown, match="only its owner can read"):
        await stores.open(home, readonly=True)


FORBIDDEN = (
    "DELETE FROM intents",
    "UPDATE keys SET role = 'admin'",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x (y)",
    "ATTACH '/etc/passwd' AS x",
    "PRAGMA query_only=OFF",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA locking_mode=EXCLUSIVE",
    "VACUUM INTO '/tmp/copy'",
    "SAVEPOINT x",
    "BEGIN IMMEDIATE",
    "BEGIN EXCLUSIVE",
    "SELECT load_extension('x')",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM pragma_table_info('keys')",
    "SELECT zeroblob(100000000)",
    "SELECT 1; SELECT 2",
    "nonsense",
)


async def test_nothing_but_reading_is_allowed(home: Home) -> None:
    """Each statement is refused, and the connection serves the next one."""
    async with reads(home):
        said = await ask(home, *FORBIDDEN, "SELECT count(*) FROM intents")
    allowed = [
        statement
        for statement, outcome in zip(FORBIDDEN, said[:-1], strict=True)
        if not isinstance(outcome, sqlite3.Error)
    ]
    assert allowed == []
    assert said[-1] == [(1,)]


STEPS = (
    "SELECT instr(name, name) FROM services",
    "SELECT replace(name, 'a', 'b') FROM services",
    "SELECT trim(name, name) FROM services",
    "SELECT printf('%.*c', 8000000, 'a')",
    "SELECT randomblob(8000000)",
    "SELECT hex(zeroblob(4000000))",
    "SELECT group_concat(name) FROM services",
    "SELECT json_group_array(name) FROM services",
    "SELECT 1 FROM services WHERE name GLOB 'a*'",
    "SELECT " + ", ".join("1" * 101),
)
"""One step of SQLite's machine in each, which takes as long or as much memory as its input says."""


async def test_no_single_step_of_a_statement_is_large(home: Home) -> None:
    """SQLite is interrupted between steps; one of hours ended the process for all members."""
    async with reads(home):
        said = await ask(home, *STEPS)
    allowed = [step for step, each in zip(STEPS, said, strict=True) if isinstance(each, list)]
    assert allowed == []


async def test_rows_beyond_the_limit_are_not_collected_first(home: Home) -> None:
    """A member could fill a gigabyte with one statement."""
    text = "x" * 100_000
    large = (
        "WITH RECURSIVE services(name) AS "
        "(SELECT 1 UNION ALL SELECT name + 1 FROM services WHERE name < 190), "
        "keys(prefix) AS (SELECT ?) "
        "SELECT prefix||prefix||prefix||prefix||prefix||prefix||prefix FROM keys, services"
    )
    await (await stores.open(home)).close()
    with contextlib.closing(guarded_reads.Connection(home)) as connection:
        tracemalloc.start()
        with pytest.raises(guarded_reads.TooLarge):
            connection.execute(large, (text,), until_s=math.inf)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < read_protocol.RESPONSE_LIMIT


async def test_what_a_key_is_checked_by_cannot_be_read(home: Home) -> None:
    """It reads as NULL, by name, in conditions and through `*`."""
    (hidden,) = [column for table, column in guarded_reads.HIDDEN if column in await columns(home)]
    async with reads(home) as store:
        await store.write(lambda s: home_fixtures.add_key(s, "sara"))
        direct, matched, everything = await ask(
            home,
            f"SELECT {hidden} FROM keys",  # noqa: S608 of the table above
            f"SELECT count(*) FROM keys WHERE {hidden} LIKE '%'",  # noqa: S608
            "SELECT * FROM keys",
        )
        assert direct == [(None,)]
        assert matched == [(0,)]
        with contextlib.closing(sqlite3.connect(home.database)) as database:
            ((value,),) = database.execute(f"SELECT {hidden} FROM keys").fetchall()  # noqa: S608
        assert value not in everything[0]


async def eventually(holds: Callable[[], bool]) -> None:
    """Until `holds`, which may block, is true."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(holds):
            continue


def served(home: Home) -> bool:
    """Whether a new connection is answered."""
    try:
        with contextlib.closing(remote_reads.Connection(home, timeout_s=20)) as connection:
            connection.execute("SELECT 1")
    except sqlite3.OperationalError:
        return False
    return True


async def columns(home: Home) -> list[str]:
    """The columns of the table of keys."""
    await (await stores.open(home)).close()
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        return [name for _, name, *_ in database.execute("PRAGMA table_info(keys)")]


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


async def test_a_statement_that_never_ends_is_ended(home: Home) -> None:
    """And one whose rows have no end; the connection is served.

    On a busy machine a short statement may take as long as these are given; not again and again.
    """
    async with reads(home, Bounds(snapshot_s=0.5)) as store:
        endless, large, *counted = await ask(
            home,
            ENDLESS,
            ENDLESS.replace("max(i)", "printf('%.8000c', 'x')"),
            *["SELECT count(*) FROM intents"] * 20,
        )
        assert isinstance(endless, sqlite3.Error)
        assert isinstance(large, sqlite3.Error)
        assert [(1,)] in counted
        await writer_process.accept(store, "scribe", 1)


async def test_a_snapshot_ends_by_itself(home: Home) -> None:
    """Whether its user is silent or busy; the log can then be restarted."""
    async with reads(home, Bounds(snapshot_s=2.0)) as store:
        await ask(home, "SELECT 1")  # starts the process, which takes part of the first snapshot
        with contextlib.closing(remote_reads.Connection(home, timeout_s=60)) as held:
            await asyncio.to_thread(held.execute, "BEGIN")
            await asyncio.to_thread(held.execute, "SELECT count(*) FROM intents")
            await writer_process.accept(store, "scribe", 1)
            await eventually(lambda: guarded_reads.fold(home))
            with pytest.raises(sqlite3.OperationalError, match="no active connection"):
                await asyncio.to_thread(held.execute, "SELECT 1")


async def test_starting_the_process_of_a_member_is_no_part_of_a_snapshot(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy box it takes seconds: the first snapshot of a member was over before it began."""
    late_s = 0.0
    start = members.Member._start

    async def slow(member: members.Member) -> asyncio.subprocess.Process:
        nonlocal late_s
        late_s += 10
        return await start(member)

    monkeypatch.setattr(members.Member, "_start", slow)
    async with reads(home, monotonic_s=lambda: time.monotonic() + late_s):
        said = await ask(home, "BEGIN", "SELECT count(*) FROM intents", "COMMIT")
    assert said == [[], [(1,)], []]


async def test_connections_of_one_user_are_bounded(home: Home) -> None:
    """One too many is refused with a word, and served when another has ended."""
    async with reads(home):
        first, *others = [remote_reads.Connection(home, timeout_s=20) for _ in range(PER_USER)]
        for each in (first, *others):
            await asyncio.to_thread(each.execute, "SELECT 1")
        (refused,) = await ask(home, "SELECT 1")
        assert isinstance(refused, sqlite3.OperationalError)
        first.close()
        await eventually(lambda: served(home))
        for each in others:
            each.close()


HOSTILE = """
import fcntl, os, pathlib, socket, struct, sys, threading, time
from storage.home import paths
from storage.sqlite import remote_reads
home = paths.Home(pathlib.Path(words[1]))
goes_over(*words[0])
opened = []
for name in words[2]:
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            opened.append((name, os.open(home.root / name, flags)))
            break
        except OSError:
            continue
for _, descriptor in opened:
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError:
            pass
    for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLK, struct.pack("hhqqi", kind, 0, 0, 0, 0))
        except OSError:
            pass
silent = []
for path in (home.control_socket, home.reads_socket):
    for _ in range(80):
        one = socket.socket(socket.AF_UNIX)
        try:
            one.connect(str(path))
        except OSError:
            continue
        silent.append(one)
def endless():
    while True:
        try:
            one = remote_reads.Connection(home, timeout_s=30)
            one.execute("BEGIN")
            one.execute(words[3])
        except Exception:
            time.sleep(0.01)
for _ in range(4):
    threading.Thread(target=endless, daemon=True).start()
print(sorted(name for name, _ in opened), len(silent), flush=True)
time.sleep(60)
"""


@other_users.only_root
async def test_a_hostile_member_holds_up_nobody(home: Home) -> None:
    """Locks on all that can be opened, silent connections, endless statements in snapshots."""
    names = [".", "paddock.db", "paddock.db-wal", "paddock.db-shm", "node.lock", "config.toml"]
    home.config.touch(0o600)
    other = User(MEMBER.uid + 1, MEMBER.groups)
    async with reads(home, Bounds(snapshot_s=3.0)) as store:
        await asyncio.to_thread(other.python, READS, str(home.root))  # starts its process
        hostile = MEMBER.start(HOSTILE, str(home.root), names, ENDLESS)
        try:
            assert hostile.stdout is not None
            line = await asyncio.to_thread(hostile.stdout.readline)
            for number in range(1, 30):
                await writer_process.accept(store, "scribe", number)
            assert line.split("]")[0] == "['config.toml'"
            said = await asyncio.to_thread(other.python, READS, str(home.root))
            assert said.split()[-1] == "30"
        finally:
            hostile.kill()
            hostile.communicate()
        await ask(home, "SELECT 1")  # every connection before this one is accepted
    assert stat.S_IMODE(home.database.stat().st_mode) == 0o600


READS = """
import asyncio, pathlib
from sqlalchemy import text
from storage import store
from storage.home import config, paths
place = paths.Home(pathlib.Path(words[1]))
async def main():
    opened = await store.open(place, readonly=True)
    async with opened.read() as session:
        print((await session.execute(text("SELECT count(*) FROM intents"))).scalar_one())
    await opened.close()
config.load(place)
goes_over(*words[0])
config.load(place)
asyncio.run(main())
"""


GREEDY = """
import pathlib, sqlite3
from storage.home import paths
from storage.sqlite import remote_reads
home = paths.Home(pathlib.Path(words[1]))
goes_over(*words[0])
said = []
for _ in range(3):
    one = remote_reads.Connection(home, timeout_s=60)
    try:
        one.execute(words[2])
        said.append("done")
    except sqlite3.OperationalError as error:
        said.append(str(error))
    print(said[-1], flush=True)
"""
SORT = (
    "WITH RECURSIVE n(i, t) AS (SELECT 1, ? UNION ALL SELECT i + 1, t FROM n WHERE i < 1000000) "
    "SELECT i FROM n ORDER BY t || i DESC LIMIT 1 OFFSET 900000"
).replace("?", "'" + "x" * 200 + "'")
"""Needs more memory than a member may have."""


@other_users.only_root
async def test_a_sort_that_runs_out_of_memory_fails_for_its_member_alone(home: Home) -> None:
    """SQLite's limit is that of a process; the statements of all members shared one."""
    async with reads(home, Bounds(snapshot_s=60)):
        greedy = MEMBER.start(GREEDY, str(home.root), SORT)
        try:
            ended = asyncio.create_task(asyncio.to_thread(greedy.communicate))
            others = 0
            while not ended.done():
                (said,) = await ask(home, "SELECT count(*) FROM intents")
                assert said == [(1,)]
                others += 1
            out, _ = await ended
        finally:
            greedy.kill()
            greedy.wait()
    assert out.count("it needs more than 128 MiB of memory; sort or group fewer rows") == 3
    assert others > 3


@other_users.only_root
async def test_members_share_a_bounded_number_of_processes(home: Home) -> None:
    """Who finds all of them in use waits; a snapshot keeps its process, and ends in time."""
    async with reads(home, processes=1):
        with contextlib.closing(remote_reads.Connection(home, timeout_s=20)) as held:
            await asyncio.to_thread(held.execute, "BEGIN")
            other = asyncio.create_task(asyncio.to_thread(MEMBER.python, READS, str(home.root)))
            for _ in range(3):
                await asyncio.to_thread(held.execute, "SELECT count(*) FROM intents")
            await asyncio.to_thread(held.execute, "COMMIT")
            assert (await other).split()[-1] == "1"
            assert await ask(home, "SELECT 1") == [[(1,)]]


async def test_a_process_that_is_killed_ends_its_snapshots_and_nothing_else(home: Home) -> None:
    """A statement of the same snapshot would see another state of the store."""
    async with reads(home):
        with contextlib.closing(remote_reads.Connection(home, timeout_s=20)) as held:
            await asyncio.to_thread(held.execute, "BEGIN")
            await asyncio.to_thread(held.execute, "SELECT 1")
            (process,) = [
                each
                for each in psutil.Process().children()
                if "engine.reads.member_process" in each.cmdline()
            ]
            process.kill()
            with pytest.raises(sqlite3.OperationalError, match="has ended"):
                await asyncio.to_thread(held.execute, "SELECT 1")
            with pytest.raises(sqlite3.OperationalError):
                await asyncio.to_thread(held.execute, "SELECT 1")
        assert await ask(home, "SELECT 1") == [[(1,)]]
