"""The start and the end of a run of the node in the store.

The remains of a dead node are repaired before anything is started: its processes have crashed, its
intents are open again, its sockets are removed. A store that takes no writes (a full disk) does
not keep the box from serving. Imported by `engine.__main__` and `engine.node`.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import msgspec
import structlog

from engine.node import process_logs
from storage import errors, intents, ledger, processes
from storage import store as stores
from storage.control_socket import nudges
from storage.control_socket.verbs import Process
from storage.home import clock, identity
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
    try:
        return await _begin(home, store)
    except BaseException:
        await store.close()
        raise


async def _begin(home: Home, store: Store) -> Life:
    nudges.sweep(home)
    process_logs.sweep(home.logs, clock.now_us() / 1e6)
    now = clock.now_us()
    clean = await _ended_well(store)

    async def record(session: Session) -> list[str]:
        await _record_notes(session, home)
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
        _forget_backups(home)
    except errors.DiskFull as error:
        _log.error("the store takes no writes; serving continues", error=str(error))
        return Life(store, now, clean, record, owed=record)
    _log.info("begun", repaired=repaired, reclaimed=open_again, clean=clean)
    return Life(store, now, clean, record)


async def _record_notes(session: Session, home: Home) -> None:
    """Who restored this store from what, and who copied it, unless its ledger has that."""
    try:
        known = identity.read(home)
    except errors.Unreadable as error:  # a note that cannot be read holds up nothing else
        _log.warning("a restore may be missing in the ledger", error=str(error))
        return
    if known is None:
        return
    key = known.store[:8]
    told = {(entry.verb, entry.at_us) for entry in await ledger.of(session, "store", key)}
    if (done := known.restore) is not None and ("store.restore", done.at_us) not in told:
        await ledger.write(
            session, actor=done.by, verb="store.restore", noun="store", key=key,
            before=done.aside or None, after=done.source, at_us=done.at_us, reason=done.reason,
        )  # fmt: skip
    for copy in known.backups:
        if ("store.backup", copy.at_us) not in told:
            await ledger.write(
                session, actor=copy.by, verb="store.backup", noun="store", key=key,
                before=None, after=copy.to, at_us=copy.at_us, reason=copy.reason,
            )  # fmt: skip


def _forget_backups(home: Home) -> None:
    """The ledger has them; if this is missed, the next start finds them there."""
    with contextlib.suppress(errors.Unreadable, OSError):
        known = identity.read(home)
        if known is not None and known.backups:
            identity.write(home, msgspec.structs.replace(known, backups=()))


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
