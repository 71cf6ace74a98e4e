"""What is written to a client, and how long it may leave that unread.

Imported by `engine.gateway.http.connection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from engine.gateway.http.limits import Limits

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
PROBE_S: Final = (0.5, 5.0)
"""When to probe a client that has stopped sending: its machine resets at the first write, and the
second write sees that. Some clients accept five interim responses at most."""


class Outgoing:
    """The writing half of a connection.

    `full` is set while the client reads more slowly than the answer is written; it is done when
    the client has caught up or has gone.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        limits: Limits,
        stalls: Callable[[], None],
        stuck: Callable[[], None],
    ) -> None:
        """`write` is the transport's.

        `stalls` and then `stuck` are called when the client has left bytes unread for `stall_s` and
        `read_s` seconds.
        """
        self.write = write
        self._limits = limits
        self._stalls = stalls
        self._stuck = stuck
        self._loop = asyncio.get_running_loop()
        self._unread: asyncio.TimerHandle | None = None
        self._probing: asyncio.TimerHandle | None = None
        self.full: asyncio.Future[None] | None = None

    def pause(self) -> None:
        """The transport holds as much as it should."""
        if self.full is None:
            self.full = self._loop.create_future()
            self._unread = self._loop.call_later(self._limits.stall_s, self._stall)

    def resume(self) -> None:
        """The client has caught up, or has gone."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if self.full is not None and not self.full.done():
            self.full.set_result(None)
        self.full = None

    def probe(self, ask: Callable[[], bool], again_s: tuple[float, ...] = PROBE_S) -> None:
        """Call `ask` now and then, as long as it returns True."""
        if ask() and again_s:
            self._probing = self._loop.call_later(again_s[0], self.probe, ask, again_s[1:])

    def stop(self) -> None:
        """The connection has ended."""
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None
        self.resume()

    def _stall(self) -> None:
        more_s = self._limits.read_s - self._limits.stall_s
        self._unread = self._loop.call_later(more_s, self._stuck)
        self._stalls()
