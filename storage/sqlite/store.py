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

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from storage import errors, migrations
from storage.control_socket import nudges
from storage.home import access, clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import connections, offline_read
from storage.sqlite.offline_read import OfflineFile

T = TypeVar("T")

_PROBLEMS: Final = 10
_LOOK_S: Final = 1.0  # measurements are written without a nudge
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
    offline = None
    try:
        if readonly:
            access.require(home)
            if not home.database.exists():
                raise errors.NotFound(
                    f"There is no box in {home.root} yet; start one with `paddock serve`."
                )
            offline = offline_read.find(home)
            migrations.expect(home, offline)
        else:
            homes.make(home)
            await migrations.apply(home, now_us)
        watch = connections.watcher(home, offline)
    except (DBAPIError, sqlite3.Error, OSError) as error:
        raise connections.translated(error, home.database) from error
    return SqliteStore(
        home,
        reader=connections.reader(home, readonly=readonly, offline=offline),
        writer=None if readonly else connections.writer(home),
        watch=watch,
        offline=offline,
    )


class SqliteStore:
    """An open store. Made by `open`, used in one event loop, closed with `close`."""

    def __init__(
        self,
        home: Home,
        *,
        reader: AsyncEngine,
        writer: AsyncEngine | None,
        watch: sqlite3.Connection,
        offline: OfflineFile | None = None,
    ) -> None:
        self.home = home
        self._reader = reader
        self._writer = writer
        self._watch = watch
        self._offline = offline
        self._version = self._look()
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task = None if writer is None else asyncio.create_task(self._serve(writer))
        self._closed = False
        self._listener: nudges.Listener | None = None

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """As `Store.read`."""
        if self._closed:
            raise errors.Unavailable("This store is closed.")
        await self._reopen()
        offline = self._offline
        try:
            async with AsyncSession(self._reader, expire_on_commit=False) as session:
                await _connect(session)
                yield session
        except DBAPIError as error:
            if offline is not None and offline.opened():
                raise self._opened_meanwhile() from error
            raise connections.translated(error, self.home.database) from error
        if offline is not None and offline.opened():
            raise self._opened_meanwhile()

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
        before, self._version = self._version, self._look()
        return before is None or self._version is None or before != self._version

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
            async with AsyncSession(self._reader) as session:
                connection = await session.connection()
                found = await connection.exec_driver_sql(f"PRAGMA quick_check({_PROBLEMS})")
                said = [str(row[0]) for row in found]
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
        self._watch.close()
        await self._reader.dispose()
        if self._writer is not None:  # the last to leave folds the log into the file
            await self._writer.dispose()

    async def _reopen(self) -> None:
        """Open a file that was read offline again, once its node has opened it."""
        if self._offline is None or not self._offline.opened():
            return
        reader, watch = self._reader, self._watch
        try:
            self._offline = offline_read.find(self.home)
            self._watch = connections.watcher(self.home, self._offline)
        except (sqlite3.Error, OSError) as error:
            raise connections.translated(error, self.home.database) from error
        self._reader = connections.reader(self.home, readonly=True, offline=self._offline)
        self._version = None
        watch.close()
        await reader.dispose()

    def _opened_meanwhile(self) -> errors.Busy:
        return errors.Busy(f"The node of {self.home.root} is just starting; try again.")

    def _look(self) -> int | None:
        """The version of the data, None when it cannot be read now."""
        try:
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return None

    async def _serve(self, writer: AsyncEngine) -> None:
        while (job := await self._queue.get()) is not None:
            if job.done.done():  # the caller was cancelled before anything began
                continue
            try:
                result = await self._transact(writer, job)
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

    @staticmethod
    async def _transact(writer: AsyncEngine, job: _Job) -> Any:
        async with AsyncSession(writer, expire_on_commit=False) as session:
            await session.connection(execution_options={connections.DURABLE: job.durable})
            result = await job.work(session)
            await session.commit()
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
