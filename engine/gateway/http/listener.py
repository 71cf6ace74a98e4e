"""Accepts connections on a listening socket and runs the application on their requests.

From `start` to `drain`. Imported by `engine.gateway.server`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from starlette.types import ASGIApp

from engine.gateway.http import address
from engine.gateway.http.admission import Admission
from engine.gateway.http.connection import Connection
from engine.gateway.http.exchange import Exchange
from engine.gateway.http.limits import Limits
from engine.gateway.http.parser import Head
from engine.gateway.http.refusals import Refusals
from engine.gateway.http.turns import Turns


class Listener:
    """One listening socket."""

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        admission: Admission,
        refusals: Refusals,
        urgent: Callable[[Head], bool] = lambda _: False,
    ) -> None:
        """`urgent` requests are answered when all places are taken."""
        self._urgent = urgent
        self._app = app
        self._limits = limits
        self._admission = admission
        self._refusals = refusals
        self._turns = Turns(self._answer)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Accept connections."""
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, sock=listening, backlog=address.BACKLOG
        )

    async def drain(self, within_s: float) -> None:
        """Accept no more and wait until all requests are answered, for so long at most."""
        if self._server is not None:
            self._server.close()
        for peer in self._admission.peers():
            peer.leave()
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while (self._tasks or self._turns.waiting) and (left := until - loop.time()) > 0:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=left)
            else:
                await asyncio.sleep(0)  # until the next turn
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self._admission.peers():
            peer.abort()

    def _connection(self) -> Connection:
        return Connection(
            self._limits, self._admission, self._refusals, self._turns.ask, self._urgent
        )

    def _answer(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(exchange.run(self._app))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
