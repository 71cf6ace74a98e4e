"""A connection to the store on which another user's statements can do nothing but read.

An authorizer lets through SELECT on the tables of the schema and nothing else; columns that hold
secrets read as NULL. Memory, lengths and the time of a statement are bounded. Run it in a process
of its own, for statements use CPU and memory. Imported by `engine.reads`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Final

from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import read_protocol
from storage.sqlite.read_protocol import Value

HEAP_BYTES: Final = 128 << 20
"""Memory of SQLite in the whole process."""
HIDDEN: Final = frozenset({("keys", "sha256"), ("keys", "mac")})
"""Columns that read as NULL."""

_ALLOWED: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})
_FUNCTIONS: Final = frozenset((
    "abs", "avg", "coalesce", "count", "date", "datetime", "hex", "ifnull", "length", "like",
    "lower", "max", "min", "nullif", "round", "strftime", "substr", "substring", "sum", "time",
    "total", "typeof", "unixepoch", "upper",
))  # fmt: skip
"""Functions whose time grows with their input only. SQLite can be interrupted between two of its
steps, and a function is one step: `instr` of two long texts takes hours."""
_BUILT_IN: Final = frozenset({"sqlite_schema", "sqlite_master", "sqlite_sequence"})
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: 8 << 20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 256 << 10,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,  # of a row, whose values are all in memory at once
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 100_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: read_protocol.PARAMETERS,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_BUSY_S: Final = 1.0
_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock; about 100 µs
_VALUE_BYTES: Final = 16


class TooLarge(Exception):
    """The rows of a statement exceed the limit of a response; ask for fewer."""


class Connection:
    """One user's connection. Use it from one thread at a time."""

    def __init__(self, home: Home, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Open the store.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        self._monotonic_s = monotonic_s
        self._until_s = 0.0
        self._bounds = False
        self._database = _open(home)
        try:
            self._tables = _BUILT_IN | _schema(self._database)
            self._database.set_authorizer(self._authorize)
            self._database.set_progress_handler(self._expired, _STEPS)
        except sqlite3.Error:
            self._database.close()
            raise

    def begin(self) -> None:
        """Begin a snapshot with the next statement."""
        self._bound("BEGIN")

    def end(self) -> None:
        """End the snapshot."""
        if self._database.in_transaction:
            self._bound("ROLLBACK")

    def execute(
        self, sql: str, parameters: tuple[Value, ...], *, until_s: float
    ) -> read_protocol.Rows:
        """All rows of one statement, which is interrupted at `until_s` of the monotonic clock.

        Raises:
            sqlite3.Error: it is not allowed, not SQL, or took too long. TooLarge: too many rows.
        """
        self._until_s = until_s
        cursor = self._database.execute(sql, parameters)
        try:
            columns = tuple(str(each[0]) for each in cursor.description or ())
            rows: list[tuple[Value, ...]] = []
            size = 0
            for row in cursor:
                size += sum(map(_size, row))
                if size > read_protocol.RESPONSE_LIMIT // 2:
                    raise TooLarge("the rows exceed 16 MiB; ask for fewer")
                rows.append(row)
            return read_protocol.Rows(columns, rows)
        finally:
            cursor.close()

    def close(self) -> None:
        """Close it; its snapshot ends."""
        self._database.close()

    def _bound(self, sql: str) -> None:
        self._bounds, self._until_s = True, self._monotonic_s() + _BUSY_S
        try:
            self._database.execute(sql)
        finally:
            self._bounds = False

    def _expired(self) -> int:
        return self._monotonic_s() > self._until_s

    def _authorize(
        self, action: int, first: str | None, second: str | None, _db: str | None, _by: str | None
    ) -> int:
        if action == sqlite3.SQLITE_READ:
            if (first, second) in HIDDEN:
                return sqlite3.SQLITE_IGNORE
            allowed = first in self._tables
        elif action == sqlite3.SQLITE_PRAGMA:  # SQLAlchemy looks at it once
            allowed = (first, second) == ("read_uncommitted", None)
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = second in _FUNCTIONS
        elif action == sqlite3.SQLITE_TRANSACTION:
            allowed = self._bounds
        else:
            allowed = action in _ALLOWED
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


class Watch:
    """Tells when something was written: SQLite's data_version, across reopenings of the file."""

    def __init__(self, home: Home) -> None:
        """Of the store of a home; opened when it is asked."""
        self._home = home
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._opened = int.from_bytes(os.urandom(3))

    def version(self) -> int:
        """A number that differs after each write; takes microseconds.

        Raises:
            sqlite3.Error, OSError: the store cannot be read.
        """
        found = self._home.database.stat()
        file = found.st_dev, found.st_ino
        if self._database is None or file != self._file:
            self.close()
            self._database, self._file = _open(self._home), file
            self._opened += 1
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        return (self._opened << 32) + int(version)

    def close(self) -> None:
        """Close it."""
        if self._database is not None:
            self._database.close()
            self._database = None


def fold(home: Home) -> bool:
    """Write the log back into the file, so that the next writer begins the log anew.

    Readers that follow each other without a gap would keep it growing; call it while there are
    none. Whether it succeeded. Writers wait for what is left after the first pass only.
    """
    with contextlib.closing(
        sqlite3.connect(f"{home.database.as_uri()}?mode=rw", uri=True, timeout=0.1)
    ) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        busy, _, _ = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        return not busy


def log_bytes(home: Home) -> int:
    """The size of the store's log."""
    log, _ = homes.beside(home.database)
    try:
        return log.stat().st_size
    except OSError:
        return 0


def failed(error: Exception) -> read_protocol.Failed:
    """An error as it is sent to the user."""
    if isinstance(error, TooLarge):
        return read_protocol.Failed(str(error), sqlite3.SQLITE_TOOBIG)
    if isinstance(error, MemoryError):
        said = f"it needs more than {HEAP_BYTES >> 20} MiB of memory; sort or group fewer rows"
        return read_protocol.Failed(said, sqlite3.SQLITE_NOMEM)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return read_protocol.Failed(str(error), code)


def busy(message: str) -> read_protocol.Failed:
    """A refusal for now."""
    return read_protocol.Failed(f"{message}; try again", sqlite3.SQLITE_BUSY)


def _open(home: Home) -> sqlite3.Connection:
    database = sqlite3.connect(
        f"{home.database.as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=0,  # each statement passes the authorizer
    )
    for category, limit in _LIMITS.items():
        database.setlimit(category, limit)
    for pragma in (
        "query_only=ON",
        "trusted_schema=OFF",
        "temp_store=MEMORY",
        f"hard_heap_limit={HEAP_BYTES}",
    ):
        database.execute(f"PRAGMA {pragma}").close()
    return database


def _schema(database: sqlite3.Connection) -> frozenset[str]:
    found = database.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
    return frozenset(name for (name,) in found if not name.startswith("sqlite_"))


def _size(value: Value) -> int:
    return _VALUE_BYTES + (len(value) if isinstance(value, str | bytes) else 0)
