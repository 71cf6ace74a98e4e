"""The start and the end of a run of the node in the store.

What a dead node left is repaired before anything is started: its processes have crashed, its
intents are open again, its sockets are removed. A store that takes no writes (a full disk) does
not keep the box from serving. Imported by `engine.__main__` and `engine.node`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import structlog

from storage import errors, intents, processes
from storage import store as stores
from storage.control_socket import nudges
from storage.control_socket.verbs import Process
from storage.home import clock
from storage.home.paths import Home
from storage.store import Session, Store

CLAIMERS: Final = tuple(process.value for process in Process)

_log = structlog.get_logger("node.recovery")


@dataclass(frozen=True, slots=True)
class Life:
    """The open store of this run; `clean` says whether the previous run stopped in order.

    `record` writes that this run began, into a store that does not know it. `owed` is what a full
    disk prevented and is written later: processes that claim intents return their own when they
    start.
    """

    store: Store
    started_at_us: int
    clean: bool
    record: Callable[[Session], Awaitable[object]]
    owed: Callable[[Session], Awaitable[object]] | None = None

    async def end(self) -> None:
        """Record that the node stopped in order, and close the store."""

        async def work(session: Session) -> None:
            await processes.node_stopped(session, at_us=clock.now_us())

        try:
            await self.store.write(work, durable=True)
        except errors.StorageError as error:
            _log.warning("the end could not be recorded", error=str(error))
        await self.store.close()


async def begin(home: Home) -> Life:
    """Open the store, migrate and repair it.

    Raises:
        StorageError: it cannot be opened; the message says what to do.
    """
    store = await stores.open(home)
    nudges.sweep(home)
    now = clock.now_us()
    clean = await _ended_well(store)

    async def record(session: Session) -> list[str]:
        repaired = await processes.repair(session, now)
        await processes.node_started(
            session,
            pid=os.getpid(),
            at_us=now,
            host=platform.node(),
            version=metadata.version("paddock"),
        )
        return repaired

    async def work(session: Session) -> tuple[list[str], list[int]]:
        open_again = [
            number for by in CLAIMERS for number in await intents.reclaim(session, by, now)
        ]
        return await record(session), open_again

    try:
        repaired, open_again = await store.write(work, durable=True)
    except errors.DiskFull as error:
        _log.error("the store takes no writes; serving continues", error=str(error))
        return Life(store, now, clean, record, owed=record)
    except BaseException:
        await store.close()
        raise
    _log.info("begun", repaired=repaired, reclaimed=open_again, clean=clean)
    return Life(store, now, clean, record)


async def check(store: Store) -> list[str]:
    """After a crash: what SQLite finds wrong. Reads the whole file."""
    problems = await store.check()
    if problems:
        _log.error("the store is damaged; restore it from a backup", problems=problems)
    return problems


async def _ended_well(store: Store) -> bool:
    async with store.read() as session:
        before = await processes.node_now(session)
    return before is None or before.stopped_at_us is not None
