"""The writes of one process: one task, one transaction at a time, in the order in which they came.

A transaction takes the lock before it reads anything. Never retries; what failed was not written.
Imported by `storage.sqlite.store`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors
from storage.control_socket import nudges
from storage.home.paths import Home
from storage.sqlite import connections, presence
from storage.sqlite.current_file import CurrentFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    """One transaction, and the future of its caller."""

    work: Callable[[AsyncSession], Awaitable[Any]]
    durable: bool
    nudge: bool
    done: asyncio.Future[Any]


class Writer:
    """Writes from when it is made, in a running loop, until `close`."""

    def __init__(self, home: Home, file: CurrentFile) -> None:
        self._home = home
        self._file = file
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(), name="writer")

    async def write(
        self, work: Callable[[AsyncSession], Awaitable[T]], *, durable: bool, nudge: bool
    ) -> T:
        """As `Store.write`."""
        if asyncio.current_task() is self._task:
            raise RuntimeError("a write inside a write would wait for itself")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Job(work, durable, nudge, done))
        return cast("T", await done)

    async def close(self) -> None:
        """Finish what is queued."""
        self._queue.put_nowait(None)
        await self._task

    async def _run(self) -> None:
        while (job := await self._queue.get()) is not None:
            if job.done.done():  # the caller was cancelled before anything began
                continue
            try:
                result = await self._transact(job)
            except (DBAPIError, sqlite3.Error) as error:
                failure = connections.translated(error, self._home.database)
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
                    nudges.send(self._home)
                if not job.done.done():
                    job.done.set_result(result)

    async def _transact(self, job: _Job) -> Any:
        """Do the work of one write; what went into a file that is gone counts as not written."""
        await self._file.require()
        opened = self._file.opened
        async with AsyncSession(opened.writer, expire_on_commit=False) as session:
            await session.connection(execution_options={connections.DURABLE: job.durable})
            result = await job.work(session)
            await session.commit()
        if presence.mark(self._home.database) != opened.mark:
            raise errors.Vanished(
                f"{self._home.database} was moved or replaced while it was written to; try again."
            )
        return result


def _fail(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
