"""The store of one box, as everything outside `storage.sqlite` knows it.

`open` gives a `Store`; a `Session` is what a read or a write works in, and the nouns of `storage`
are functions over it. The seam for another database: what is particular to SQLite is in
`storage.sqlite`, and what is imported from here works on any. Imported by every package.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar, TypeVarTuple

from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import configure_mappers

from storage import errors
from storage.home import clock
from storage.home.paths import Home
from storage.sqlite import backups, connections
from storage.sqlite import store as sqlite
from storage.sqlite.backups import Copy, Restored
from storage.sqlite.streams import stream
from storage.sqlite.turns import Cursor, at_once
from storage.sqlite.upserts import accumulate, insert_new, upsert

__all__ = [
    "Copy", "Cursor", "Restored", "Session", "Store", "Work", "accumulate", "at_once", "attach",
    "backup", "healthy", "insert_new", "inspect", "note", "open", "prepare", "restore",
    "savepoint", "stream", "upsert",
]  # fmt: skip

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Session = AsyncSession
"""What a read or a write works in; the only name by which other packages know it."""
Work = Callable[[Session], Awaitable[T]]

backup = backups.backup
healthy = backups.healthy
inspect = backups.inspect
note = backups.note
restore = backups.restore


def prepare() -> None:
    """Make ready what the first read would make otherwise: the mapping of the nouns' rows."""
    configure_mappers()


class Store(Protocol):
    """An open store. Made by `open`, used in one event loop, closed with `close`."""

    home: Home

    @property
    def replaced(self) -> int:
        """How often another file took the place of the one that was open, and is used since."""
        ...

    @property
    def id(self) -> str:
        """The id of the store, the same for its whole life and in its backups."""
        ...

    async def missing(self) -> str | None:
        """Why the store's file is not there as it was; None while it is.

        Reads and writes raise Vanished meanwhile, and are served again when the file is back: the
        same one, or a copy of this store (`paddock restore`) that took its place.
        """
        ...

    def read(self) -> AbstractAsyncContextManager[Session]:
        """One snapshot: nothing changes between its first query and its last. Keep it short.

        Raises:
            Busy: the store was read while its node was down, and the node started; read again.
            Unavailable: it is closed, or cannot be read.
        """
        ...

    def glimpse(self, query: Select[*Ts], **values: object) -> list[tuple[*Ts]]:
        """The rows of one short query, read at once: for what every request has to know.

        No other task runs meanwhile, so read a row or two by their key. The query is kept with its
        statement: make it once, with a `bindparam` for each of the `values`.

        Raises:
            Unavailable, Busy: it cannot be read now; use what was read before.
        """
        ...

    async def write(self, work: Work[T], *, durable: bool = False, nudge: bool = True) -> T:
        """Run `work` in one transaction; returns what it returned, once committed.

        All or nothing: what `work` raises is raised here and nothing was written. `durable` waits
        for the disk (intents, moves); without it a power cut may cost the last moments. `nudge`
        wakes the other processes; measurements need not.

        Raises:
            DiskFull, Busy, Unreadable, Unavailable: nothing was written; the store stays usable.
            Vanished: the file is gone. What was written as it went may be found in it again.
        """
        ...

    async def changed(self) -> bool:
        """Whether any process, this one included, wrote since the last call."""
        ...

    async def wait_changed(self, timeout_s: float | None = None) -> bool:
        """Wait until something was written since the last call; False after `timeout_s`.

        Shares its memory with `changed`, so a store has one waiter.

        Raises:
            Unavailable: it is closed.
        """
        ...

    async def check(self) -> list[str]:
        """What is wrong with the stored data; empty when it is whole. Reads all of it."""
        ...

    async def close(self) -> None:
        """Finish queued writes and release the store; closing it again does nothing."""
        ...


async def open(
    home: Home, *, readonly: bool = False, now_us: Callable[[], int] = clock.now_us
) -> Store:
    """Open the store; unless `readonly`, make what a new home lacks, and migrate.

    Any number of processes may do so at once. The store of a home is made once: `home.json` tells
    that there was one. Processes that the node restarts use `attach`.

    Raises:
        NotFound: `readonly`, and there is no store yet.
        Vanished: the store of this home is gone, or another one is in its place.
        WrongSchema: a newer Paddock wrote it, or `readonly` and it is not migrated yet.
        Unreadable: the file is damaged or is not a database.
        Closed: `readonly`, and this user may not read the data directory.
        DiskFull, NotPrivate: the message says where.
    """
    return await sqlite.open(home, readonly=readonly, now_us=now_us)


async def attach(home: Home) -> Store:
    """Open the store that there is, to read and to write; never make and never migrate one.

    The gateway is started before the node has made or migrated the store, and waits for that.

    Raises:
        NotFound: it was not made within half a minute.
        Vanished, WrongSchema, Unreadable: as `open`.
    """
    return await sqlite.attach(home)


@contextlib.asynccontextmanager
async def savepoint(session: Session) -> AsyncIterator[None]:
    """Inside a write: if the block raises, what it wrote is undone and the write can continue.

    Raises:
        ConstraintViolated: a row breaks a rule of the schema.
        Unavailable: the store itself failed, and with it the whole write.
    """
    try:
        async with session.begin_nested():
            yield
    except IntegrityError as error:
        raise errors.ConstraintViolated(f"The store rejected a row: {error.orig}.") from error
    except DBAPIError as error:
        raise connections.translated(error) from error
