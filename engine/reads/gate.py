"""Decides when snapshots may begin: readers must leave a gap in which the WAL can be reset.

SQLite's log grows while some reader uses it. One snapshot is bounded in time; overlapping snapshots
would still keep it growing. So once the log is large, new snapshots wait until those under way have
ended and the log was written back. Imported by `engine.reads.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

FOLD_BYTES: Final = 16 << 20
LOOK_S: Final = 1.0


class Gate:
    """Snapshots are taken inside `held`; `keep` closes the gate now and then."""

    def __init__(
        self,
        *,
        log_bytes: Callable[[], int],
        fold: Callable[[], bool],
        fold_bytes: int = FOLD_BYTES,
        look_s: float = LOOK_S,
    ) -> None:
        self._log_bytes = log_bytes
        self._fold = fold
        self._fold_bytes = fold_bytes
        self._look_s = look_s
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0

    async def enter(self) -> None:
        """Wait until snapshots may begin, and count one."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        """A snapshot has ended."""
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """One snapshot."""
        await self.enter()
        try:
            yield
        finally:
            self.leave()

    async def keep(self) -> None:
        """Write the log back whenever it has become large, until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            if self._log_bytes() < self._fold_bytes:
                continue
            self._open.clear()
            try:
                await self._empty.wait()
                await asyncio.to_thread(self._fold)
            finally:
                self._open.set()
