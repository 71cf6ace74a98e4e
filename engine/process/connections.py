"""The connections to one Unix socket: a task each, counted by user, all ended by `close`.

Connections beyond the limits are refused with a sentence. Never reads a request itself. Imported by
the servers of Unix sockets that other users reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from typing import TypeAlias

from engine.process import peers
from engine.process.peers import Limits, Peer

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


class Connections:
    """`converse` talks to a client until it returns; `refuse` says why there is no room for one.

    A client that is silent, gone or faulty ends its own connection: errors in `ends` are not
    logged.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        converse: Callable[[Reader, Writer, Peer], Awaitable[None]],
        refuse: Callable[[Writer, str], Awaitable[None]],
        ends: tuple[type[Exception], ...] = (),
    ) -> None:
        self._limits = limits
        self._converse = converse
        self._refuse = refuse
        self._ends: tuple[type[Exception], ...] = (TimeoutError, OSError, *ends)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Those that were admitted and have not ended."""
        return self._limits.open

    @property
    def refused(self) -> int:
        """Those that were refused since the start."""
        return self._limits.refused

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """One connection, from its beginning to its end; the callback of a server."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 a callback of the server is a task
        self._tasks.add(task)
        try:
            who = peers.peer(writer.get_extra_info("socket"))
            full = self._limits.enter(who.uid)
            if full is not None:
                await self._refuse(writer, full)
                return
            try:
                await self._converse(reader, writer, who)
            finally:
                self._limits.leave(who.uid)
        except self._ends:
            return
        except asyncio.CancelledError:
            return  # closing; the server must not report it as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    def end(self, but: Container[asyncio.Task[None]]) -> None:
        """End the connections whose tasks are not among these."""
        for task in self._tasks:
            if task not in but:
                task.cancel()

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
