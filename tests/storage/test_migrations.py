"""Migrations: once, in order, each in one transaction; and the rows that fit what they made."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pkgutil
import sqlite3

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

import storage
from storage import errors, migrations
from storage import store as stores
from storage.home import migrating, paths
from storage.home.migrating import Progress
from storage.home.paths import Home
from storage.migrations import (
    Migration,
    m0040_online_scores,
    m0054_less_to_read,
    m0056_scores_by_request,
    progress,
)

pytestmark = pytest.mark.usefixtures("real_migrations")

_VIEWS = {"requests"}  # whose columns have no constraints


def rows(home: Home, query: str) -> list[tuple[object, ...]]:
    """What the file holds, seen without the store."""
    with contextlib.closing(sqlite3.connect(home.database)) as bare:
        return bare.execute(query).fetchall()


async def opened(home: Home, at_us: int = 1) -> None:
    """Open and close, migrating what is to be migrated."""
    await (await stores.open(home, now_us=lambda: at_us)).close()


async def test_each_migration_runs_once(home: Home) -> None:
    """Opening again finds it done, with the time at which it was."""
    await opened(home, 10)
    await opened(home, 20)
    kept = rows(home, "SELECT number, name, at_us FROM migrations ORDER BY number")
    assert kept == [(step.number, step.name, 10) for step in migrations.every()]
    assert [step.number for step in migrations.every()] == list(range(1, len(kept) + 1))


async def test_a_migration_that_fails_leaves_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a schema would be neither the old one nor the new one."""
    await opened(home)
    next_number = migrations.newest() + 1

    async def half(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")
        await connection.exec_driver_sql("INSERT INTO half VALUES (1)")
        await connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    async def whole(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")

    steps = migrations.every()
    monkeypatch.setattr(migrations, "newest", lambda: next_number)
    for up, expected in ((half, next_number - 1), (whole, next_number)):
        step = Migration(next_number, f"m{next_number:04}_half", up)
        monkeypatch.setattr(migrations, "every", lambda step=step: [*steps, step])
        with contextlib.suppress(errors.Unavailable):
            await opened(home)
        assert migrations.schema(home) == expected
        tables = [name for (name,) in rows(home, "SELECT name FROM sqlite_schema")]
        assert ("half" in tables) == (up is whole)


async def test_a_newer_schema_is_refused(home: Home) -> None:
    """An old Paddock does not touch, and does not misread, what a newer one wrote."""
    await opened(home)
    with contextlib.closing(sqlite3.connect(home.database)) as bare, bare:
        bare.execute("INSERT INTO migrations VALUES (999, 'm0999_later', 1)")
    for readonly in (True, False):
        with pytest.raises(errors.WrongSchema, match="written by a newer Paddock"):
            await stores.open(home, readonly=readonly)


async def test_a_reader_does_not_read_what_is_not_migrated(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal of the new version says so, instead of failing somewhere in a query."""
    await opened(home)
    monkeypatch.setattr(migrations, "newest", lambda: 999)
    with pytest.raises(errors.WrongSchema, match="paddock serve"):
        await stores.open(home, readonly=True)


async def test_rows_fit_what_the_migrations_made(home: Home) -> None:
    """Every table that code knows has the same columns in the file, nullable or not alike."""
    await opened(home)
    for module in pkgutil.iter_modules(storage.__path__):
        importlib.import_module(f"storage.{module.name}")
    known = SQLModel.metadata.tables
    query = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
    made = {name for (name,) in rows(home, query)}
    assert made - {"migrations", "store", "sqlite_sequence"} == set(known)
    for name, table in known.items():
        found = {
            (column, name not in _VIEWS and bool(required or primary))
            for _, column, _, required, _, primary in rows(home, f"PRAGMA table_info({name})")
        }
        assert found == {
            (column.name, name not in _VIEWS and not column.nullable) for column in table.columns
        }, name


def test_a_long_migration_says_how_far_it_is(home: Home) -> None:
    """While SQLite is busy with one statement of it, and only while a process migrates."""
    paths.make(home)
    held = migrating.lock(home)
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(
            "CREATE TABLE requests (id TEXT); INSERT INTO requests (rowid, id) VALUES (40000, 'a')"
        )
        seconds = itertools.count()
        watch = progress.Watch(
            home, database, [50, 51], monotonic_s=lambda: float(next(seconds))
        )  # fmt: skip
        watch.begin(50)
        database.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
            "SELECT max(i) FROM n"
        ).fetchone()
        found = migrating.read(home)
        assert found is not None
        assert (found.schema, found.newest) == (50, 51)
        assert found.percent is not None
        assert 0 < found.percent < 99
        os.close(held)
        assert migrating.read(home) is None  # a process that was killed leaves its file
        watch.end()
    assert not (home.run / "migrating.json").exists()


def test_each_long_step_has_its_share_and_of_another_none_is_said(home: Home) -> None:
    """By the rows that it moves: requests are 54 % of the work here, and step 51 moves none."""
    paths.make(home)
    held = migrating.lock(home)
    found: list[Progress | None] = []
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(
            "CREATE TABLE requests (id TEXT); INSERT INTO requests (rowid, id) VALUES (5000, 'a');"
            "CREATE TABLE sample_minutes (body BLOB);"
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
            "INSERT INTO sample_minutes SELECT 'x' FROM n"
        )
        seconds = itertools.count()
        watch = progress.Watch(
            home, database, [50, 51, 54], monotonic_s=lambda: float(next(seconds))
        )  # fmt: skip
        for step in (50, 51, 54):
            watch.begin(step)
            database.execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) "
                "SELECT max(i) FROM n"
            ).fetchone()
            found.append(migrating.read(home))
        watch.end()
        os.close(held)
    said = [each and (each.schema, each.percent) for each in found]
    assert said[:2] == [(50, 54), (51, None)]
    assert found[1] is not None
    assert found[1].words == "migrating the store (schema 51 of 54)"
    assert said[2] == (54, 99)


def test_packed_minutes_lie_in_the_order_of_time() -> None:
    """As they are read and deleted; a sort with their bodies would fill the temporary files."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(
            "CREATE TABLE ledger (noun, after, key, at_us, before);"
            "CREATE TABLE sample_minutes (kind TEXT, minute_s INTEGER, subject TEXT, body BLOB, "
            "PRIMARY KEY (kind, minute_s, subject)) WITHOUT ROWID;"
        )
        made = [
            (kind, minute_s, subject, f"{kind}{minute_s}{subject}".encode())
            for kind in ("arm", "gpu")
            for minute_s in (60, 120, 180)
            for subject in ("r2", "r1")
        ]
        database.executemany("INSERT INTO sample_minutes VALUES (?, ?, ?, ?)", made)
        database.executescript(m0054_less_to_read.SCRIPT)
        found = database.execute("SELECT * FROM sample_minutes ORDER BY rowid").fetchall()
    assert found == sorted(made, key=lambda row: (row[1], row[0], row[2]))


async def test_a_reader_is_told_how_far_the_migration_is(home: Home) -> None:
    """And that it is under way: starting the node again would not help."""
    await opened(home)
    with contextlib.closing(sqlite3.connect(home.database)) as bare, bare:
        bare.execute("DELETE FROM migrations WHERE number > 49")
    held = migrating.lock(home)
    migrating.write(home, Progress(schema=50, newest=53, percent=40))
    try:
        with pytest.raises(errors.WrongSchema, match=r"migrating the store: 40 % \(schema 50 of"):
            await stores.open(home, readonly=True)
    finally:
        os.close(held)
    with pytest.raises(errors.WrongSchema, match="stop the node"):
        await stores.open(home, readonly=True)


def test_scores_get_the_number_of_their_request_and_its_ab_test() -> None:
    """Whether the gateway made the id or not; scores of requests that are gone go as well."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(m0040_online_scores.SCRIPT)
        database.executescript(
            """
            CREATE TABLE request_rows (number INTEGER PRIMARY KEY, id ANY UNIQUE, ab_test INTEGER);
            INSERT INTO request_rows VALUES (4, x'ab01', 7), (9, 'mine', NULL);
            INSERT INTO online_scores VALUES
              ('req_ab01', 'clean', 'support', 1, 50, 1), ('mine', 'clean', 'support', 2, 60, 0),
              ('req_ab02', 'clean', 'support', 1, 40, 1);
            """
        )
        database.create_function("request_key", 1, m0056_scores_by_request.key)
        database.executescript(m0056_scores_by_request.SCRIPT)
        assert database.execute("SELECT * FROM online_scores").fetchall() == [
            ("support", 4, "clean", 1, 50, 7, 1), ("support", 9, "clean", 2, 60, None, 0),
        ]  # fmt: skip
