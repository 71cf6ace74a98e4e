"""Reading the store through the node, for members of its group, who cannot open the files.

A lock needs only read access to a file, so a reader who can open the store can stop its writers:
members of the group therefore send their statements to a process of the node. `Connection` has the
interface of Python's sqlite3 as far as SQLAlchemy needs it. Never writes. Imported by
`storage.sqlite.connections`.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from storage.errors import NodeIsDown
from storage.home import access
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import read_protocol
from storage.sqlite.read_protocol import Value

_RECEIVE: Final = 1 << 16
_VERSION: Final = "PRAGMA data_version"
_LOST: Final = "no active connection: the node closed it; try again"
"""SQLAlchemy drops a connection on the first three words."""


class Refused(sqlite3.OperationalError):
    """A statement was not executed, or not to its end; the message says why."""


class Connection:
    """A connection to the process of the node that reads for others."""

    isolation_level: str | None = None
    row_factory: Any = None
    total_changes: int = 0

    def __init__(self, home: Home, *, timeout_s: float) -> None:
        """Connect; each answer is awaited for `timeout_s` at most.

        Raises:
            NodeIsDown: nothing listens. Closed: this user may not read the data directory.
        """
        self._home = home
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self.in_transaction = False
        self._connect()

    def cursor(self) -> Cursor:
        """A cursor."""
        return Cursor(self)

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> Cursor:
        """One statement and its rows."""
        return Cursor(self).execute(sql, parameters)

    def commit(self) -> None:
        """End the snapshot."""
        self.rollback()

    def rollback(self) -> None:
        """End the snapshot; one that was lost has ended already."""
        if self.in_transaction and self._socket is not None:
            self.ask(read_protocol.Execute("ROLLBACK"))
        self.in_transaction = False

    def close(self) -> None:
        """Close it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def create_function(self, *_: object, **__: object) -> None:
        """Do nothing: the functions of this process are out of reach of the other one."""

    def ask(self, request: read_protocol.Request) -> read_protocol.Response:
        """One request and its response.

        Raises:
            sqlite3.OperationalError: the statement failed, or the connection is lost.
        """
        try:
            if self._socket is None:
                self._connect()
            assert self._socket is not None  # noqa: S101 it was just made
            self._socket.sendall(read_protocol.encode(request))
            head = self._receive(read_protocol.LENGTH.size)
            length = read_protocol.length(head, read_protocol.RESPONSE_LIMIT)
            said = read_protocol.response(self._receive(length))
        except (OSError, NodeIsDown, read_protocol.Malformed) as error:
            self.close()
            raise _error(_LOST, sqlite3.SQLITE_IOERR) from error
        if isinstance(said, read_protocol.Failed):
            raise _error(said.message, said.code)
        return said

    def _receive(self, size: int) -> bytes:
        assert self._socket is not None  # noqa: S101 called while it is there
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(min(size - len(parts), _RECEIVE))
            if not part:
                raise ConnectionResetError
            parts += part
        return bytes(parts)

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout_s)
        try:
            with homes.short(self._home.reads_socket) as address:
                connection.connect(address)
        except OSError as error:
            connection.close()
            if isinstance(error, PermissionError):
                raise access.closed(self._home) from error
            raise NodeIsDown(
                f"The node of {self._home.root} is not running or does not read for others now; "
                "only its owner can read the store then. Start it with `paddock serve`."
            ) from error
        self._socket = connection


class Cursor:
    """The rows of one statement, all of them received."""

    arraysize: int = 1
    rowcount: int = -1
    lastrowid: int | None = None
    row_factory: Any = None

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.description: tuple[tuple[str, None, None, None, None, None, None], ...] | None = None
        self._rows: Iterator[tuple[Value, ...]] = iter(())

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> Cursor:
        """Run one statement."""
        if sql == _VERSION:
            said = self.connection.ask(read_protocol.Version())
        else:
            said = self.connection.ask(read_protocol.Execute(sql, tuple(parameters)))
        if sql == "BEGIN":
            self.connection.in_transaction = True
        if isinstance(said, read_protocol.Number):
            said = read_protocol.Rows(("data_version",), [(said.version,)])
        assert isinstance(said, read_protocol.Rows)  # noqa: S101 the two responses to these
        self.description = (
            tuple((name, None, None, None, None, None, None) for name in said.columns) or None
        )
        self._rows = iter(said.rows)
        return self

    def fetchone(self) -> tuple[Value, ...] | None:
        """The next row."""
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[tuple[Value, ...]]:
        """The next rows."""
        return [row for row, _ in zip(self._rows, range(size), strict=False)]

    def fetchall(self) -> list[tuple[Value, ...]]:
        """All rows that are left."""
        return list(self._rows)

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        """Row by row."""
        return self._rows

    def close(self) -> None:
        """Drop the rows."""
        self._rows = iter(())


def _error(message: str, code: int) -> Refused:
    error = Refused(message)
    error.sqlite_errorcode = code
    return error
