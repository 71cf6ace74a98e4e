"""The schema, as the numbered steps that made it; each in one transaction with its record.

A step is a module `mNNNN_name.py` with `async def up(connection)`. A step that was released never
changes. Imported by `storage.store`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import pkgutil
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
from sqlalchemy import Connection, CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.errors import WrongSchema
from storage.home import identity, migrating
from storage.home.identity import Identity
from storage.home.paths import Home
from storage.migrations import progress
from storage.sqlite import connections, presence
from storage.sqlite.offline_read import OfflineFile

_MODULE: Final = re.compile(r"m(\d{4})_(\w+)")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    up: Callable[[AsyncConnection], Awaitable[None]]


def every() -> list[Migration]:
    """All steps in their order; their numbers have no gaps."""
    found = []
    for module in pkgutil.iter_modules(__path__):
        if named := _MODULE.fullmatch(module.name):
            up = importlib.import_module(f"{__name__}.{module.name}").up
            found.append(Migration(int(named[1]), module.name, up))
    return sorted(found, key=lambda step: step.number)


@functools.cache
def newest() -> int:
    """The schema that this Paddock speaks. It looks once: every opening of a store asks twice."""
    named = (_MODULE.fullmatch(module.name) for module in pkgutil.iter_modules(__path__))
    return max(int(found[1]) for found in named if found)


def schema(home: Home, offline: OfflineFile | None = None) -> int:
    """The schema of the store as it is; 0 for a file without any."""
    if not home.database.exists():
        return 0
    with contextlib.closing(connections.watcher(home, offline, wait_s=connections.BUSY_S)) as watch:
        known = watch.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone()
        if not known:
            return 0
        return int(watch.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()[0])


def expect(home: Home, offline: OfflineFile | None = None) -> None:
    """Check that the store can be read by this Paddock as it is.

    Raises:
        WrongSchema: it is newer, or it was not migrated yet.
    """
    found = schema(home, offline)
    _refuse_newer(home, found)
    if found < newest():
        if (now := migrating.read(home)) is not None:
            raise WrongSchema(f"The node of {home.root} is {now.words}; try again when it is done.")
        raise WrongSchema(
            f"{home.database} has schema {found}, this Paddock reads {newest()}: stop the node "
            "and start this version with `paddock serve`, which migrates it."
        )


def pending(home: Home) -> bool:
    """Whether the store still has to be made or migrated, which is the node's to do.

    Raises:
        Vanished, Unreadable: it was made, and is not there as it was.
        WrongSchema: it is newer than this Paddock.
    """
    known = identity.read(home)
    presence.require(home, known)
    found = schema(home)
    _refuse_newer(home, found)
    return known is None or not known.made or found < newest()


async def apply(home: Home, now_us: Callable[[], int]) -> None:
    """Bring the store to the newest schema, step by step; concurrent callers wait and find it done.

    The store of a home that never had one is made. The home's identity is written first, without
    an id, and completed last: a crash in between leaves what the next call finishes.

    Raises:
        Vanished: the home had a store, and it is gone or another one.
        WrongSchema: it is newer than this Paddock.
    """
    if pending(home):
        await asyncio.to_thread(_apply, home, now_us)


def _apply(home: Home, now_us: Callable[[], int]) -> None:
    lock = migrating.lock(home)
    try:
        known = identity.read(home)
        presence.require(home, known)
        if presence.holds(presence.mark(home.database)):
            _refuse_newer(home, schema(home))
            presence.check_id(home, known, presence.read_id(home))
        if known is None and not presence.holds(presence.mark(home.database)):
            identity.write(home, Identity())
        connections.create(home)
        with contextlib.closing(sqlite3.connect(home.database)) as first:
            first.execute("PRAGMA journal_mode=WAL")
        found = schema(home)
        asyncio.run(_take(home, [step for step in every() if step.number > found], now_us))
        if known is None or not known.made:
            begun = known or Identity()
            identity.write(home, msgspec.structs.replace(begun, store=presence.read_id(home)))
    finally:
        os.close(lock)


async def _take(home: Home, steps: list[Migration], now_us: Callable[[], int]) -> None:
    """Step by step; the last one waits for the disk, which then has those before it, too."""
    if not steps:
        return
    engine = connections.migrator(home)
    watch: progress.Watch | None = None
    try:
        with engine.connect() as connection:
            driver = cast("sqlite3.Connection", connection.connection.driver_connection)
            watch = progress.Watch(home, driver, [step.number for step in steps])
        for step in steps:
            watch.begin(step.number)
            durable = {connections.DURABLE: step is steps[-1]}
            with engine.connect().execution_options(**durable) as connection, connection.begin():
                connection.exec_driver_sql(
                    "CREATE TABLE IF NOT EXISTS migrations "
                    "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, at_us INTEGER NOT NULL) "
                    "STRICT"
                )
                await step.up(cast("AsyncConnection", _Here(connection)))
                connection.exec_driver_sql(
                    "INSERT INTO migrations (number, name, at_us) VALUES (?, ?, ?)",
                    (step.number, step.name, now_us()),
                )
    finally:
        if watch is not None:
            watch.end()
        engine.dispose()


@dataclass(frozen=True, slots=True)
class _Here:
    """What steps use of an `AsyncConnection`, in this thread: none changes to another and back."""

    connection: Connection

    async def exec_driver_sql(
        self, statement: str, parameters: tuple[Any, ...] | None = None
    ) -> CursorResult[Any]:
        """As `AsyncConnection.exec_driver_sql`."""
        return self.connection.exec_driver_sql(statement, parameters)


def _refuse_newer(home: Home, found: int) -> None:
    if found > newest():
        raise WrongSchema(
            f"{home.database} has schema {found}, written by a newer Paddock; this one knows "
            f"{newest()}. Install the newer version, or choose another home."
        )


def statements(script: str) -> Iterator[str]:
    """The statements of a script in which each ends with a semicolon at the end of a line."""
    for statement in script.split(";\n"):
        if statement.strip():
            yield statement.strip().rstrip(";")
