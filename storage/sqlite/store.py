"""The store of one box in one SQLite file that several processes share.

Reads are snapshots. The writes of a process go through one task, one transaction each, which takes
the lock before it reads anything. Knows no nouns. Implements `storage.store.Store`; imported by
`storage.store` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from storage import errors, migrations
from storage.control_socket import nudges
from storage.home import access, clock, identity
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import connections, offline_read, presence
from storage.sqlite.offline_read import OfflineFile

T = TypeVar("T")

_PROBLEMS: Final = 10
_LOOK_S: Final = 1.0  # measurements are written without a nudge
_MAKING_S: Final = 30.0
"""How long a process waits for the node to make or migrate the store."""
_MAKING_LOOK_S: Final = 0.02
_log: Final = structlog.get_logger("store")
_serial: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class _Job:
    """One transaction, and the future of its caller."""

    work: Callable[[AsyncSession], Awaitable[Any]]
    durable: bool
    nudge: bool
    done: asyncio.Future[Any]


async def open(
    home: Home, *, readonly: bool = False, now_us: Callable[[], int] = clock.now_us
) -> SqliteStore:
    """As `storage.store.open`."""
    try:
        if readonly:
            offline = _for_reading(home)
            opened = _opened(home, readonly=True, offline=offline)
            return SqliteStore(home, opened, readonly=True, offline=offline)
        homes.make(home)
        await migrations.apply(home, now_us)
        return SqliteStore(home, _opened(home))
    except (DBAPIError, sqlite3.Error, OSError) as error:
        raise connections.translated(error, home.database) from error


async def attach(home: Home) -> SqliteStore:
    """As `storage.store.attach`."""
    until = time.monotonic() + _MAKING_S
    try:
        while migrations.pending(home):
            if time.monotonic() > until:
                raise errors.NotFound(
                    f"The store of {home.root} was not made or migrated within {_MAKING_S:.0f} s; "
                    "start the node with `paddock serve`, which does it."
                )
            await asyncio.sleep(_MAKING_LOOK_S)
        migrations.expect(home)
        return SqliteStore(home, _opened(home))
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


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is open of one file; the readers' and the watcher's share of it cannot write."""

    id: str
    file: presence.Mark | None
    reader: AsyncEngine
    writer: AsyncEngine | None
    watch: sqlite3.Connection

    async def close(self) -> None:
        """Let go of it; the last to leave folds the log into the file."""
        self.watch.close()
        await self.reader.dispose()
        if self.writer is not None:
            await self.writer.dispose()


def _opened(home: Home, *, readonly: bool = False, offline: OfflineFile | None = None) -> _Opened:
    found = presence.mark(home.database)
    id = presence.read_id(home, offline)
    presence.check_id(home, identity.read(home), id)
    return _Opened(
        id,
        found,
        reader=connections.reader(home, readonly=readonly, offline=offline),
        writer=None if readonly else connections.writer(home),
        watch=connections.watcher(home, offline),
    )


class SqliteStore:
    """An open store. Made by `open` or `attach`, used in one event loop, closed with `close`."""

    def __init__(
        self,
        home: Home,
        opened: _Opened,
        *,
        readonly: bool = False,
        offline: OfflineFile | None = None,
    ) -> None:
        self.home = home
        self.replaced = 0
        self._opened = opened
        self._log: presence.Mark | None = None
        self._missing: str | None = None
        self._emptied = False
        self._offline = offline
        self._version = self._look()
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task = None if readonly else asyncio.create_task(self._serve())
        self._closed = False
        self._listener: nudges.Listener | None = None

    @property
    def id(self) -> str:
        """As `Store.id`."""
        return self._opened.id

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """As `Store.read`."""
        if self._closed:
            raise errors.Unavailable("This store is closed.")
        await self._reopen()
        await self._present()
        offline = self._offline
        try:
            async with AsyncSession(self._opened.reader, expire_on_commit=False) as session:
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
        if self._task is None:
            raise errors.Unavailable(
                "This store was opened for reading; changes go through the control socket."
            )
        if self._closed:
            raise errors.Unavailable("This store is closed.")
        if asyncio.current_task() is self._task:
            raise RuntimeError("a write inside a write would wait for itself")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Job(work, durable, nudge, done))
        return cast("T", await done)

    async def changed(self) -> bool:
        """As `Store.changed`; takes microseconds."""
        if self._offline is not None:
            return self._offline.opened()
        was_missing = self._missing is not None
        if await self.missing() is not None:
            return not was_missing
        if was_missing:
            self._version = None
        before, self._version = self._version, self._look()
        return before is None or self._version is None or before != self._version

    async def missing(self) -> str | None:
        """As `Store.missing`; takes microseconds while it is there."""
        if self._offline is None:
            with contextlib.suppress(errors.StorageError):
                await self._present()
        return self._missing

    async def wait_changed(self, timeout_s: float | None = None) -> bool:
        """As `Store.wait_changed`: woken by nudges, and looking every second besides."""
        if self._closed:
            raise errors.Unavailable("This store is closed.")
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

    def _listen(self) -> nudges.Listener | None:
        """The listener of this store; None where this user may not make a socket."""
        if self._listener is None:
            with contextlib.suppress(OSError):
                self._listener = nudges.listen(self.home, f"store-{os.getpid()}-{next(_serial)}")
        return self._listener

    async def check(self) -> list[str]:
        """As `Store.check`, by SQLite's quick check."""
        try:
            await self._present()
            async with AsyncSession(self._opened.reader) as session:
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
        if self._task is not None:
            self._queue.put_nowait(None)
            await self._task
        if self._listener is not None:
            self._listener.close()
        await self._opened.close()

    async def _reopen(self) -> None:
        """Open a file that was read offline again, once its node has opened it."""
        if self._offline is None or not self._offline.opened():
            return
        old = self._opened
        try:
            self._offline = offline_read.find(self.home)
            self._opened = _opened(self.home, readonly=True, offline=self._offline)
        except (sqlite3.Error, OSError) as error:
            raise connections.translated(error, self.home.database) from error
        self._version = None
        await old.close()

    async def _present(self) -> None:
        """Check that the open file is the one at its path; one that took its place is opened.

        Raises:
            Vanished: there is none, or one that is not the store of this home.
        """
        if self._offline is not None:
            return
        found = presence.mark(self.home.database)
        if found == self._opened.file and not self._emptied:
            self._missing = None
            if self._log is None:
                self._log = presence.mark(homes.beside(self.home.database)[0])
            return
        self._emptied = self._emptied or (found is not None and found.empty)
        try:
            await self._follow(found)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            failure = connections.translated(error, self.home.database)
            self._missing = str(failure)
            raise failure from error
        except errors.StorageError as error:
            self._missing = str(error)
            raise
        self._missing = None
        self._emptied = False

    async def _follow(self, found: presence.Mark | None) -> None:
        """Open the file that is in the place of the one that was open, if it is the right one.

        SQLite leaves the new file's log alone when the old file is closed: it looks whether the
        file was moved.
        """
        home = self.home
        if not presence.holds(found):
            raise presence.gone(home)
        presence.require_file(home)
        log = presence.mark(homes.beside(home.database)[0])
        if log is not None and self._log is not None and log.inode == self._log.inode:
            raise presence.mispaired(home)
        if self._task is None:
            raise errors.Vanished(f"{home.database} was replaced; read it again.")
        migrations.expect(home)
        old, self._opened = self._opened, _opened(home)
        self._log = self._version = None
        self.replaced += 1
        _log.warning("the store was replaced; using the file that is there now", id=self.id)
        await old.close()

    def _started_meanwhile(self) -> errors.Busy:
        return errors.Busy(f"The node of {self.home.root} is just starting; try again.")

    def _look(self) -> int | None:
        """The version of the data, None when it cannot be read now."""
        try:
            return int(self._opened.watch.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return None

    async def _serve(self) -> None:
        while (job := await self._queue.get()) is not None:
            if job.done.done():  # the caller was cancelled before anything began
                continue
            try:
                result = await self._transact(job)
            except DBAPIError as error:
                failure = connections.translated(error, self.home.database)
                failure.__cause__ = error
                _fail(job, failure)
            except asyncio.CancelledError:
                job.done.cancel()
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise  # this task is cancelled; else the work cancelled itself
            except Exception as error:  # noqa: BLE001 it is raised in the caller
                _fail(job, error)
            else:
                if job.nudge:
                    nudges.send(self.home)
                if not job.done.done():
                    job.done.set_result(result)

    async def _transact(self, job: _Job) -> Any:
        """Do the work of one write; what went into a file that is gone counts as not written."""
        await self._present()
        async with AsyncSession(self._opened.writer, expire_on_commit=False) as session:
            await session.connection(execution_options={connections.DURABLE: job.durable})
            result = await job.work(session)
            await session.commit()
        if presence.mark(self.home.database) != self._opened.file:
            raise errors.Vanished(
                f"{self.home.database} was moved or replaced while it was written to; try again."
            )
        return result


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


def _fail(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
