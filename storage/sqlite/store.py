"""The store in SQLite: one file that several processes share.

Reads are snapshots; the writes of a process go through its `Writer`; both work in the
`CurrentFile`. Knows no nouns. Implements `storage.store.Store`; imported by `storage.store` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar, TypeVarTuple, cast

from sqlalchemy import Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, migrations
from storage.control_socket import nudges
from storage.home import access, clock, identity, migrating
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import connections, offline_read, open_file, presence
from storage.sqlite.current_file import CurrentFile
from storage.sqlite.offline_read import OfflineFile
from storage.sqlite.open_file import OpenFile
from storage.sqlite.writer import Writer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PROBLEMS: Final = 10
_LOOK_S: Final = 1.0  # measurements are written without a nudge
_MAKING_S: Final = 30.0
"""How long a process waits for the node to make the store, or to begin to migrate it."""
_MAKING_LOOK_S: Final = 0.02
_MIGRATING_LOOK_S: Final = 0.25
_serial: Final = itertools.count()


async def open(
    home: Home, *, readonly: bool = False, now_us: Callable[[], int] = clock.now_us
) -> SqliteStore:
    """As `storage.store.open`."""
    try:
        if readonly:
            offline = _for_reading(home)
            opened = open_file.open(home, readonly=True, offline=offline)
            return SqliteStore(home, opened, readonly=True, offline=offline)
        homes.make(home)
        await migrations.apply(home, now_us)
        return SqliteStore(home, open_file.open(home))
    except (DBAPIError, sqlite3.Error, OSError) as error:
        raise connections.translated(error, home.database) from error


async def attach(home: Home) -> SqliteStore:
    """As `storage.store.attach`."""
    until = time.monotonic() + _MAKING_S
    try:
        while migrations.pending(home):
            if migrating.read(home) is not None:
                until = time.monotonic() + _MAKING_S
                await asyncio.sleep(_MIGRATING_LOOK_S)
            if time.monotonic() > until:
                raise errors.NotFound(
                    f"The store of {home.root} was not made or migrated within {_MAKING_S:.0f} s; "
                    "start the node with `paddock serve`, which does it."
                )
            await asyncio.sleep(_MAKING_LOOK_S)
        migrations.expect(home)
        return SqliteStore(home, open_file.open(home))
    except (DBAPIError, sqlite3.Error, OSError) as error:
        raise connections.translated(error, home.database) from error


def _for_reading(home: Home) -> OfflineFile | None:
    """Check that the store can be read by this user as it is."""
    access.require(home)
    known = identity.read(home)
    presence.require(home, known)
    if not home.database.exists():
        raise errors.NotFound(
            f"There is no box in {home.root} yet; start one with `paddock serve`."
        )
    offline = offline_read.find(home)
    migrations.expect(home, offline)
    return offline


class SqliteStore:
    """An open store. Made by `open` or `attach`, used in one event loop, closed with `close`."""

    def __init__(
        self,
        home: Home,
        opened: OpenFile,
        *,
        readonly: bool = False,
        offline: OfflineFile | None = None,
    ) -> None:
        self.home = home
        self._file = CurrentFile(home, opened, readonly=readonly, offline=offline)
        self._writer = None if readonly else Writer(home, self._file)
        self._closed = False
        self._listener: nudges.Listener | None = None

    @property
    def id(self) -> str:
        """As `Store.id`."""
        return self._file.opened.id

    @property
    def replaced(self) -> int:
        """As `Store.replaced`."""
        return self._file.replaced

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """As `Store.read`."""
        self._require_open()
        await self._file.refresh()
        await self._file.require()
        offline = self._file.offline
        try:
            async with AsyncSession(self._file.opened.reader, expire_on_commit=False) as session:
                await _connect(session)
                yield session
        except DBAPIError as error:
            if offline is not None and offline.opened():
                raise self._started_meanwhile() from error
            raise connections.translated(error, self.home.database) from error
        if offline is not None and offline.opened():
            raise self._started_meanwhile()

    async def write(
        self,
        work: Callable[[AsyncSession], Awaitable[T]],
        *,
        durable: bool = False,
        nudge: bool = True,
    ) -> T:
        """As `Store.write`."""
        if self._writer is None:
            raise errors.Unavailable(
                "This store was opened for reading; changes go through the control socket."
            )
        self._require_open()
        return await self._writer.write(work, durable=durable, nudge=nudge)

    def glimpse(self, query: Select[*Ts], **values: object) -> list[tuple[*Ts]]:
        """As `Store.glimpse`; takes microseconds while the page is in memory."""
        self._require_open()
        try:
            found = self._file.opened.rows(_named(query), values)
        except sqlite3.Error as error:
            raise connections.translated(error, self.home.database) from error
        return cast("list[tuple[*Ts]]", found)

    async def changed(self) -> bool:
        """As `Store.changed`; takes microseconds."""
        return await self._file.changed()

    async def missing(self) -> str | None:
        """As `Store.missing`; takes microseconds while it is there."""
        return await self._file.missing()

    async def wait_changed(self, timeout_s: float | None = None) -> bool:
        """As `Store.wait_changed`: woken by nudges, and looking every second besides."""
        self._require_open()
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not await self.changed():
            left = _LOOK_S if until is None else min(until - time.monotonic(), _LOOK_S)
            if left <= 0:
                return False
            if (listener := self._listen()) is None:
                await asyncio.sleep(left)
            else:
                await listener.wait(left)
        return True

    async def check(self) -> list[str]:
        """As `Store.check`, by SQLite's quick check."""
        try:
            await self._file.require()
            async with AsyncSession(self._file.opened.reader) as session:
                connection = await session.connection()
                found = await connection.exec_driver_sql(f"PRAGMA quick_check({_PROBLEMS})")
                said = [str(row[0]) for row in found]
        except errors.Vanished as error:
            return [str(error)]
        except DBAPIError as error:
            return [str(connections.translated(error, self.home.database))]
        return [] if said == ["ok"] else said

    async def close(self) -> None:
        """As `Store.close`."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            await self._writer.close()
        if self._listener is not None:
            self._listener.close()
        await self._file.close()

    def _require_open(self) -> None:
        if self._closed:
            raise errors.Unavailable("This store is closed.")

    def _listen(self) -> nudges.Listener | None:
        """The listener of this store; None where this user may not make a socket."""
        if self._listener is None:
            with contextlib.suppress(OSError):
                self._listener = nudges.listen(self.home, f"store-{os.getpid()}-{next(_serial)}")
        return self._listener

    def _started_meanwhile(self) -> errors.Busy:
        return errors.Busy(f"The node of {self.home.root} is just starting; try again.")


@functools.cache
def _named(query: Select[Any]) -> str:
    """The statement of a query, with its parameters by their names."""
    return str(query.compile(dialect=sqlite.dialect(paramstyle="named")))


async def _connect(session: AsyncSession) -> None:
    """Connect a session, and finish doing so even if the reader is cancelled meanwhile.

    aiosqlite loses a connection whose opening is cancelled, and nothing closes it.
    """
    connecting = asyncio.ensure_future(session.connection())
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await asyncio.wait((connecting,), timeout=connections.BUSY_S)
        connecting.cancel()
        raise
