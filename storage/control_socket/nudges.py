"""Nudges: datagrams that tell every process of the box to look at the store now.

A nudge carries nothing and may be lost, so listeners also poll now and then. Sending never blocks
and never fails. Imported by the store and by everything that waits for changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final, Self

from storage.home import paths as homes
from storage.home.paths import Home

_DRAIN: Final = 4096


class Listener:
    """The receiving end: one for each process that waits."""

    def __init__(self, home: Home, name: str) -> None:
        self._home = home
        self._path = home.nudge(name)
        self._socket = self._bound()

    def _bound(self) -> socket.socket:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._path.unlink(missing_ok=True)
            with homes.short(self._path) as address:
                bound.bind(address)
            self._path.chmod(0o600)
        except OSError:
            bound.close()
            raise
        return bound

    async def wait(self, timeout_s: float | None = None) -> bool:
        """True as soon as there was a nudge since the last call, False after `timeout_s`.

        A socket whose file was removed is bound again first. Whether nudges were lost meanwhile
        is not known, so that counts as one.
        """
        if not self._path.exists() and self._bind_again():
            return True
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                await loop.sock_recv(self._socket, 1)
        except TimeoutError:
            return False
        with contextlib.suppress(BlockingIOError):
            for _ in range(_DRAIN):  # a burst of nudges is one reason to look
                self._socket.recv(1)
        return True

    def _bind_again(self) -> bool:
        try:
            self._home.run.mkdir(mode=homes.PRIVATE, exist_ok=True)
            fresh = self._bound()
        except OSError:  # the home itself is gone: its processes still poll
            return False
        self._socket.close()
        self._socket = fresh
        return True

    def close(self) -> None:
        """Stop listening."""
        self._path.unlink(missing_ok=True)
        self._socket.close()

    def __enter__(self) -> Self:
        """Listen inside a `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.close()


def listen(home: Home, name: str) -> Listener:
    """Listen as `name`; an earlier listener of that name no longer receives nudges."""
    return Listener(home, name)


def send(home: Home) -> None:
    """Nudge every listener."""
    with contextlib.suppress(OSError):  # no descriptor left: they look by themselves, later
        _reach(home)


def sweep(home: Home) -> None:
    """Remove the sockets of processes that were killed; for the node's start."""
    for name in _reach(home):
        home.nudge(name).unlink(missing_ok=True)


def _reach(home: Home) -> list[str]:
    """Nudge every listener; returns the names of dead listeners."""
    dead = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        for path in home.run.glob("*.nudge"):
            try:
                with homes.short(path) as address:
                    sender.sendto(b"!", address)
            except ConnectionRefusedError:
                dead.append(path.stem)
            except OSError:  # a full queue has been nudged already; what is gone is gone
                continue
    return dead
