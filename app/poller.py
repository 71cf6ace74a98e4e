"""The one poller: asks once a second whether anything changed, and hands screens a new snapshot.

A slow read skips ticks instead of queueing them, and neither a node nor a gateway that does not
answer delays a snapshot. A store that cannot be read is tried again; the node is asked meanwhile.
It imports the database's libraries in a thread after the first paint. It never draws. Imported by
`app.tui`.
"""

from __future__ import annotations

import asyncio
import importlib
import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from app import snapshot
from app.snapshot import Query
from storage import errors
from storage.home import clock
from storage.home.paths import Home
from storage.runtime import collector

if TYPE_CHECKING:
    from app.reader import Reader
    from storage.store import Store

EVERY_S: Final = 1.0
_STALE_TICKS: Final = 3  # in a store in which nothing changes, ages still grow
_ANSWER_S: Final = 0.05  # later answers of node and gateway make a snapshot of their own


class Poller:
    """Looks at one home for as long as `run` runs."""

    def __init__(
        self,
        home: Home,
        show: Callable[[snapshot.Snapshot], None],
        *,
        now_us: Callable[[], int] = clock.now_us,
        every_s: float = EVERY_S,
    ) -> None:
        self._home = home
        self._show = show
        self._now_us = now_us
        self._every_s = every_s
        self._query = Query()
        self._poked = asyncio.Event()
        self._since = 0
        self.store: Store | None = None
        self._source: Reader | None = None
        self._asking: asyncio.Task[bool] | None = None
        self._unread = False
        self._looking = True
        self.ticks = 0  # looks that read the store

    def look_at(self, query: Query) -> None:
        """From now on this is what is looked at; the next snapshot comes at once."""
        if query != self._query:
            self._query = query
            self.poke()

    def poke(self) -> None:
        """Look now."""
        self._since = _STALE_TICKS
        self._poked.set()

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.to_thread(_load)
        due = time.monotonic()
        try:
            while True:
                self._looking = True
                await self.tick()
                self._looking = False
                due = max(due + self._every_s, time.monotonic())
                try:
                    async with asyncio.timeout(max(due - time.monotonic(), 0)):
                        await self._poked.wait()
                except TimeoutError:
                    continue
                due = time.monotonic()
        finally:
            await self.close()

    async def tick(self) -> None:
        """Read once, if anything changed or `poke` was called; errors are snapshots, too."""
        self._poked.clear()
        try:
            source = await self._open()
            store = self.store
            lives = await self._ask(source)
            changed = store is not None and await store.changed()
            self._since += 1
            if not (changed or lives) and self._since < _STALE_TICKS:
                return
            self._since = 0
            self.ticks += 1
            query = self._query
            current = await source.read(query)
            if query == self._query:  # else another place is open, which is read next
                self._show(current)
            self._unread = False
        except errors.StorageError as error:
            await self.close()
            await self._show_without_store(error)

    async def _ask(self, source: Reader) -> bool:
        """Whether node and gateway answered otherwise than before, if they answered soon enough.

        The first answers are waited for: before them it is not known whether anything lives.
        """
        first = source.facts.node is snapshot.Node.ASKING
        if self._asking is None:
            self._asking = asyncio.create_task(source.ask())
            self._asking.add_done_callback(self._answered)
        asking = self._asking
        await asyncio.wait({asking}, timeout=None if first else _ANSWER_S)
        if not asking.done():
            return False
        self._asking = None
        return asking.result()

    @property
    def settled(self) -> bool:
        """Whether no look is due or under way, and node and gateway have answered the last one."""
        answered = self._asking is None or (self._asking.done() and not self._asking.result())
        return answered and not self._looking and not self._poked.is_set()

    def _answered(self, asking: asyncio.Task[bool]) -> None:
        """Answers that came late and differ are shown now."""
        if not asking.cancelled() and asking.exception() is None and asking.result():
            self.poke()

    async def _open(self) -> Reader:
        if self._source is None:
            module = importlib.import_module("app.reader")
            stores = importlib.import_module("storage.store")
            self.store = await stores.open(self._home, readonly=True, now_us=self._now_us)
            self._source = module.Reader(self._home, self.store, now_us=self._now_us)
            self._since = _STALE_TICKS
        source = self._source
        assert source is not None  # noqa: S101 it was just made
        return source

    def opened(self) -> Store:
        """The store, while it can be read.

        Raises:
            Unavailable: it cannot.
        """
        if self.store is None:
            raise errors.Unavailable("The store cannot be read now, so nothing was asked.")
        return self.store

    async def close(self) -> None:
        """Let go of the store."""
        store, self.store = self.store, None
        source, self._source = self._source, None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        if source is not None:
            await source.close()
        if store is not None:
            await store.close()

    async def _show_without_store(self, error: errors.StorageError) -> None:
        """What the node says of itself; what is wrong is shown at once the first time."""
        first, self._unread = not self._unread, True
        if first:
            self._show(self._unreadable(error))
        if isinstance(error, errors.Unavailable):
            module = importlib.import_module("app.node_facts")
            known = await module.without_store(self._home, str(error), self._now_us())
            if known is not None:
                self._show(known)
                return
        if not first:
            self._show(self._unreadable(error))

    def _unreadable(self, error: errors.StorageError) -> snapshot.Snapshot:
        node = snapshot.Node.ASKING
        if isinstance(error, errors.NotFound):
            node = snapshot.Node.ABSENT
        elif isinstance(error, errors.NodeIsDown):  # it reads for members of the group
            node = snapshot.Node.DOWN
        return snapshot.Snapshot(
            header=snapshot.Header(
                host=platform.node() or "host",
                person=snapshot.Person(name=""),
                node=node,
                now_us=self._now_us(),
                error=str(error),
            )
        )


def _load() -> None:
    """Import what reads the store, and let it make ready what its first read needs.

    In a thread, so that the screen draws and takes keys meanwhile; and none of it is looked through
    by the garbage collector again, which took longer than most reads do.
    """
    with collector.paused():
        importlib.import_module("app.reader")
        importlib.import_module("storage.store").prepare()
