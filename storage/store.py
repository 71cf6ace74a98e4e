"""The store of one box: one SQLite file that several processes share.

Reads are snapshots. Writes of a process go through one task, one transaction each, begun with the
lock in hand; what was returned from `write` stands. It knows no nouns and decides nothing.
Imported by everybody who reads or writes records.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from storage import errors, migrations
from storage.control_socket import nudges
from storage.home import access, clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import connections
from storage.sqlite import offline_read as rests
from storage.sqlite.offline_read import Rest

T = TypeVar("T")
Session = AsyncSession
"""What a read or a write works in; the only name by which other packages know it."""
Work = Callable[[AsyncSession], Awaitable[T]]

_PROBLEMS: Final = 10


@dataclass(frozen=True, slots=True)
class _Job:
    """One transaction that somebody waits for."""

    work: Work[Any]
    durable: bool
    nudge: bool
    done: asyncio.Future[Any]


async def open(
    home: Home, *, readonly: bool = False, now_us: Callable[[], int] = clock.now_us
) -> Store:
    """Open the store; unless `readonly`, create the home and migrate first. Many may do so at once.

    Raises:
        NotFound: `readonly`, and there is no store yet.
        WrongSchema: a newer Paddock wrote it, or `readonly` and it is not migrated yet.
        Unreadable: the file is damaged or is no database.
        Closed: `readonly`, and this user may not look into the home.
        DiskFull, NotPrivate: the message says where.
    """
    rest = None
    try:
        if readonly:
            access.require(home)
            if not home.database.exists():
                raise errors.NotFound(
                    f"There is no box in {home.root} yet; start one with `paddock serve`."
                )
            rest = rests.find(home)
            migrations.expect(home, rest)
        else:
            homes.make(home)
            await migrations.apply(home, now_us)
        watch = connections.watcher(home, rest)
    except (DBAPIError, sqlite3.Error, OSError) as error:
        raise connections.told(error, home.database) from error
    return Store(
        home,
        reader=connections.reader(home, readonly=readonly, rest=rest),
        writer=None if readonly else connections.writer(home),
        watch=watch,
        rest=rest,
    )


@contextlib.asynccontextmanager
async def savepoint(session: Session) -> AsyncIterator[None]:
    """Inside a write: what the block wrote is taken back if it raises; the write itself goes on.

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
        raise connections.told(error, Path("the store")) from error


class Store:
    """An open store. Made by `open`, used in one event loop, closed with `close`."""

    def __init__(
        self,
        home: Home,
        *,
        reader: AsyncEngine,
        writer: AsyncEngine | None,
        watch: sqlite3.Connection,
        rest: Rest | None = None,
    ) -> None:
        self.home = home
        self._reader = reader
        self._writer = writer
        self._watch = watch
        self._rest = rest
        self._version = self._look()
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task = None if writer is None else asyncio.create_task(self._serve(writer))
        self._closed = False

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """One snapshot: from the first look to the last, nothing moves. Keep it short.

        Raises:
            Busy: the store was read at rest and was opened by its node meanwhile; read again.
            Unavailable: it is closed.
        """
        if self._closed:
            raise errors.Unavailable("This store is closed.")
        await self._rise()
        rest = self._rest
        try:
            async with AsyncSession(self._reader, expire_on_commit=False) as session:
                yield session
        except DBAPIError as error:
            if rest is not None and rest.disturbed():
                raise self._woken() from error
            raise connections.told(error, self.home.database) from error
        if rest is not None and rest.disturbed():
            raise self._woken()

    async def write(self, work: Work[T], *, durable: bool = False, nudge: bool = True) -> T:
        """Run `work` in a transaction of its own and return what it returns, once that stands.

        All or nothing: whatever `work` raises is raised here and nothing was written. `durable`
        waits until the disk has it (intents, moves); else a power cut may cost the last moments.
        `nudge` tells the other processes to look; measurements need not.

        Raises:
            DiskFull, Busy, Unreadable, Unavailable: nothing was written; the store goes on.
        """
        if self._task is None:
            raise errors.Unavailable("This store was opened for reading; changes go to the door.")
        if self._closed:
            raise errors.Unavailable("This store is closed.")
        if asyncio.current_task() is self._task:
            raise RuntimeError("a write inside a write would wait for itself")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Job(work, durable, nudge, done))
        return cast("T", await done)

    async def changed(self) -> bool:
        """Whether anybody, this process included, wrote since the last call. Microseconds."""
        if self._rest is not None:
            return self._rest.disturbed()
        before, self._version = self._version, self._look()
        return before is None or self._version is None or before != self._version

    async def check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty when it is whole. Reads all of it."""
        try:
            async with AsyncSession(self._reader) as session:
                connection = await session.connection()
                found = await connection.exec_driver_sql(f"PRAGMA quick_check({_PROBLEMS})")
                said = [str(row[0]) for row in found]
        except DBAPIError as error:
            return [str(connections.told(error, self.home.database))]
        return [] if said == ["ok"] else said

    async def close(self) -> None:
        """Finish what is queued, then let go. Doing it again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            self._queue.put_nowait(None)
            await self._task
        self._watch.close()
        await self._reader.dispose()
        if self._writer is not None:  # the last to leave folds the log into the file
            await self._writer.dispose()

    async def _rise(self) -> None:
        """Open anew what was opened at rest, once somebody has the store open."""
        if self._rest is None or not self._rest.disturbed():
            return
        reader, watch = self._reader, self._watch
        try:
            self._rest = rests.find(self.home)
            self._watch = connections.watcher(self.home, self._rest)
        except (sqlite3.Error, OSError) as error:
            raise connections.told(error, self.home.database) from error
        self._reader = connections.reader(self.home, readonly=True, rest=self._rest)
        self._version = None
        watch.close()
        await reader.dispose()

    def _woken(self) -> errors.Busy:
        return errors.Busy(f"The node of {self.home.root} is just starting; look again.")

    def _look(self) -> int | None:
        """The version of the data, None when it cannot be told just now."""
        try:
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return None

    async def _serve(self, writer: AsyncEngine) -> None:
        while (job := await self._queue.get()) is not None:
            if job.done.done():  # who asked has gone, and nothing was begun
                continue
            try:
                result = await self._transact(writer, job)
            except DBAPIError as error:
                told = connections.told(error, self.home.database)
                told.__cause__ = error
                _fail(job, told)
            except asyncio.CancelledError:
                job.done.cancel()
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise  # we are told to end; else the work ended itself so
            except Exception as error:  # noqa: BLE001 it is handed to who asked
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


def _fail(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
