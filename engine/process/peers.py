"""Who is connected to a Unix socket, and how many connections each user may have.

The kernel says which user is at the other end. No user can use up the connections of the others;
refusals are counted and logged. Never decides what a user may do. Imported by the servers of Unix
sockets.
"""

from __future__ import annotations

import collections
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

_CREDENTIALS: Final = struct.Struct("3i")
_LOG_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel knows it."""

    pid: int
    uid: int
    gid: int


def peer(connection: socket.socket) -> Peer:
    """Who connected, at the moment when they did."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Peer(pid, uid, gid)


class Limits:
    """Counts the connections of one socket by user.

    The user who runs the box and root have `own` for themselves; all other users together
    have `others`, and each of them `per_user`.
    """

    def __init__(
        self,
        name: str,
        *,
        per_user: int,
        others: int,
        own: int,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = structlog.get_logger(name)
        self._per_user = per_user
        self._others = others
        self._own = own
        self._monotonic_s = monotonic_s
        self._trusted = {0, os.geteuid()}
        self._open: collections.Counter[int] = collections.Counter()
        self._logged: dict[int, float] = {}
        self.refused = 0
        """Connections refused since the start."""

    @property
    def open(self) -> int:
        """Connections now."""
        return self._open.total()

    def enter(self, uid: int) -> str | None:
        """Count a connection; None, or the sentence with which it is refused and not counted."""
        full = self._full(uid)
        if full is None:
            self._open[uid] += 1
            return None
        self.refused += 1
        now = self._monotonic_s()
        if now - self._logged.get(uid, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            if len(self._logged) >= self._others:
                self._logged.clear()
            self._logged[uid] = now
            self._log.warning("connections refused", uid=uid, reason=full, refused=self.refused)
        return full

    def leave(self, uid: int) -> None:
        """A counted connection has ended."""
        self._open[uid] -= 1
        if not self._open[uid]:
            del self._open[uid]

    def _full(self, uid: int) -> str | None:
        if uid in self._trusted:
            own = sum(self._open[each] for each in self._trusted)
            return f"it already has {own} connections" if own >= self._own else None
        if self._open[uid] >= self._per_user:
            return f"this user already has {self._per_user} connections, the most for one user"
        others = self.open - sum(self._open[each] for each in self._trusted)
        return f"it already has {others} connections" if others >= self._others else None
