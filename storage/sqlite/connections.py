"""Connections to SQLite: pragmas, where transactions begin, and what the driver's errors mean.

Python's driver would begin transactions implicitly; it is configured to begin none.
Readers begin with BEGIN (one snapshot), the writer with BEGIN IMMEDIATE (the lock before the first
read). Imported by `storage.sqlite`, `storage.store` and `storage.migrations`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, cast

import aiosqlite
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, StaticPool

from storage import errors
from storage.home import access
from storage.home.paths import Home
from storage.sqlite import remote_reads, round_trips
from storage.sqlite.offline_read import OfflineFile

BUSY_S: Final = 5.0
_READERS: Final = 4
_WAL_BYTES: Final = 64 * 1024 * 1024
_MIGRATING_KIB: Final = 256 * 1024
"""An index of millions of random ids is made in memory, or each entry reads and writes pages."""
_NO_ROOM_BYTES: Final = 256 * 1024
_REMOTE_S: Final = 20.0  # longer than a snapshot may take
_LOOK_S: Final = 0.5
_CHUNK: Final = 64
_SYNCHRONOUS: Final = "synchronous"
_BESIDE: Final = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
_ROOM: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}  # also raised when the disk is full

# An option of the connection: whether the commit waits for the disk.
DURABLE: Final = "durable"


def reader(home: Home, *, readonly: bool, offline: OfflineFile | None = None) -> AsyncEngine:
    """Connections for snapshots; they cannot write. Other users' go through the node."""
    if readonly and not access.owns(home):
        engine = _remote(home)
    else:
        engine = _engine(home, readonly=readonly, size=_READERS, offline=offline)
        _each(engine.sync_engine, ["PRAGMA query_only=ON"])

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def writer(home: Home) -> AsyncEngine:
    """The one connection that writes; DURABLE decides whether a commit waits for the disk."""
    engine = _engine(home, readonly=False, size=1)
    _write(engine.sync_engine)
    return engine


def migrator(home: Home) -> Engine:
    """The same for the thread that migrates, which goes through hundreds of statements."""
    engine = create_engine(
        URL.create("sqlite", database=_writable(home), query={"uri": "true"}),
        connect_args={"timeout": BUSY_S, "isolation_level": None},
        poolclass=StaticPool,
        pool_reset_on_return=None,
    )
    _write(engine)
    _each(engine, [f"PRAGMA cache_size=-{_MIGRATING_KIB}"])
    return engine


def _write(engine: Engine) -> None:
    """Each transaction takes the lock before it reads, and waits for the disk where it shall."""
    _each(engine, ["PRAGMA foreign_keys=ON", f"PRAGMA journal_size_limit={_WAL_BYTES}"])

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        wanted = "FULL" if connection.get_execution_options().get(DURABLE) else "NORMAL"
        if (
            connection.info.get(_SYNCHRONOUS) != wanted
        ):  # the pragma has no effect inside a transaction
            connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
            connection.info[_SYNCHRONOUS] = wanted
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def watcher(
    home: Home, offline: OfflineFile | None = None, *, wait_s: float = 0
) -> sqlite3.Connection:
    """A bare connection for `PRAGMA data_version`, microseconds each; a lock is not waited for."""
    if not access.owns(home):
        remote = remote_reads.Connection(home, timeout_s=max(wait_s, _LOOK_S))
        return cast("sqlite3.Connection", remote)  # as far as a watcher needs the interface
    return sqlite3.connect(
        _address(home, offline),
        uri=True,
        timeout=wait_s,
        isolation_level=None,
        check_same_thread=False,
    )


def create(home: Home) -> None:
    """An empty file that only its owner can read; SQLite gives -wal and -shm the same mode."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(home.database, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _engine(
    home: Home, *, readonly: bool, size: int, offline: OfflineFile | None = None
) -> AsyncEngine:
    address = _address(home, offline) if readonly else _writable(home)

    def connect() -> Awaitable[Any]:
        return round_trips.Connection(
            lambda: sqlite3.connect(
                address, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        )

    return create_async_engine(
        "sqlite+aiosqlite:///local",
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=size,
        max_overflow=0,
        pool_reset_on_return=None,  # every transaction here ends by commit or rollback
    )


def _remote(home: Home) -> AsyncEngine:
    """Connections through the node, made for each snapshot: the node may start again."""

    def connect() -> Awaitable[Any]:
        return aiosqlite.Connection(
            lambda: cast("Any", remote_reads.Connection(home, timeout_s=_REMOTE_S)), _CHUNK
        )

    return create_async_engine(
        "sqlite+aiosqlite:///remote",
        async_creator=connect,
        poolclass=NullPool,
        pool_reset_on_return=None,
    )


def _writable(home: Home) -> str:
    """Not by its plain path, which would make an empty file where the store has vanished."""
    return f"{home.database.as_uri()}?mode=rw"


def _address(home: Home, offline: OfflineFile | None) -> str:
    """The file as a read-only URI of SQLite."""
    unlocked = "" if offline is None else "&immutable=1"
    return f"{home.database.as_uri()}?mode=ro{unlocked}"


def _each(engine: Engine, pragmas: list[str]) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()


def translated(
    error: DBAPIError | sqlite3.Error | OSError, database: Path = Path("the store")
) -> errors.StorageError:
    """An error of the driver as one of `storage.errors`, which says what to do."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    said = str(origin)
    exact = getattr(origin, "sqlite_errorcode", 0)
    code = exact & 0xFF
    if code == sqlite3.SQLITE_FULL or (code in _ROOM and _no_room(database.parent)):
        return errors.DiskFull(
            f"The disk is full: nothing was written. Free space in {database.parent} "
            "and try again; the store recovers by itself."
        )
    if exact == sqlite3.SQLITE_IOERR_WRITE:
        return errors.DiskFull(
            f"The disk rejected the write: nothing was written. {database.parent} is over its "
            "quota, or the disk fails; free space and try again, the store recovers by itself."
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} or isinstance(
        origin, remote_reads.Refused
    ):
        return errors.Busy(
            f"The node did not read {database} for you: {said}."
            if isinstance(origin, remote_reads.Refused)
            else f"Another process has held {database} for {BUSY_S:.0f} s; nothing was written. "
            "Try again; `fuser` on the file names the process."
        )
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return errors.Unreadable(
            f"{database} is damaged or is not a Paddock store ({said}). Restore it from a backup, "
            "or move it away with its -wal and -shm and start again."
        )
    if code in _BESIDE and not os.access(database.parent, os.W_OK):
        return errors.Unavailable(
            f"{database} is being opened or closed by its owner; try again. "
            "If it stays so, the next start of the node repairs it."
        )
    never = code == sqlite3.SQLITE_CONSTRAINT  # a retry would not help
    kind = errors.Invalid if never else errors.Unavailable
    return kind(f"{database} {'rejected the row' if never else 'cannot be used'}: {said}.")


def _no_room(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < _NO_ROOM_BYTES
    except OSError:
        return False
