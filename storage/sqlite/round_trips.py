"""A connection whose statements take one turn in its thread, not one for each call of the driver.

SQLAlchemy makes a cursor, executes, fetches and closes; aiosqlite goes to the connection's thread
and back for each of the four, which costs more than most statements do. Here one turn makes the
cursor, executes, reads the first rows and closes it. A long result is read on in further turns, so
that a stream holds a few rows. Imported by `storage.sqlite.connections`.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TypeVar

import aiosqlite

from storage import errors
from storage.sqlite import streams

_FIRST: Final = streams.CHUNK
"""Rows that are read with their statement; a stream lets other tasks run before it has more."""
_MOST: Final = 2**63 - 1

T = TypeVar("T")


class Connection(aiosqlite.Connection):
    """As aiosqlite's; its thread never keeps the process from ending."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, _FIRST)
        self._thread.daemon = True

    def cursor(self) -> Cursor:  # type: ignore[override]
        """A cursor that exists in the thread from its statement on."""
        return Cursor(self)

    async def turn(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the thread."""
        found: T = await self._execute(function, *arguments)  # type: ignore[no-untyped-call]
        return found

    def made(self) -> sqlite3.Cursor:
        """A cursor of the driver; in the thread."""
        return self._conn.cursor()


class Cursor:
    """What SQLAlchemy uses of `aiosqlite.Cursor`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: sqlite3.Cursor | None = None
        self._rows: deque[Any] = deque()
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        """Enter without a turn."""
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Execute a statement and read its first rows."""
        await self._turn(lambda made: made.execute(statement, parameters))
        return self

    async def executemany(self, statement: str, parameters: Sequence[Sequence[Any]]) -> Cursor:
        """Execute a statement with each of the parameters."""
        await self._turn(lambda made: made.executemany(statement, parameters))
        return self

    async def fetchone(self) -> Any:
        """The next row, None at the end."""
        found = await self.fetchmany(1)
        return found[0] if found else None

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows, of which there may be fewer."""
        wanted = self.arraysize if size is None else size
        found = [self._rows.popleft() for _ in range(min(wanted, len(self._rows)))]
        if len(found) < wanted and (rest := self._open) is not None:
            found += await self._connection.turn(rest.fetchmany, wanted - len(found))
        return found

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        found = list(self._rows)
        self._rows.clear()
        if (rest := self._open) is not None:
            found += await self._connection.turn(rest.fetchall)
        return found

    async def close(self) -> None:
        """Let go of what is left; nothing is where all rows came with the statement."""
        if (rest := self._open) is not None:
            self._open = None
            await self._connection.turn(rest.close)

    async def _turn(self, execute: Callable[[sqlite3.Cursor], object]) -> None:
        await self.close()
        await self._connection.turn(self._execute, execute)

    def _execute(self, execute: Callable[[sqlite3.Cursor], object]) -> None:
        """In the connection's thread, while the caller waits."""
        made = self._connection.made()
        try:
            execute(made)
            self._rows = deque(made.fetchmany(_FIRST)) if made.description else deque()
        except OverflowError as error:
            made.close()
            raise errors.Invalid(f"A number exceeds {_MOST}, the largest in the store.") from error
        except BaseException:
            made.close()
            raise
        self.description, self.rowcount = made.description, made.rowcount
        self.lastrowid = made.lastrowid
        if len(self._rows) < _FIRST:
            made.close()
        else:
            self._open = made
