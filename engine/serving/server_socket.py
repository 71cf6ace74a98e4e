"""The worker's end of its socket: one gateway at a time, and a bounded outbox.

Non-blocking; the loop polls it between steps and waits on it when idle. A second connection waits
in the backlog until the first has ended. Knows frames, not what they mean. Imported by the worker.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from pathlib import Path
from typing import Final

from engine.serving import wire

HIGH_WATER: Final = 1 << 20
_CHUNK: Final = 1 << 18


class ServerSocket:
    """A listening socket and at most one connection.

    `wait` sets `accepted` when a connection began and `lost` when one ended; the caller resets
    them.
    """

    def __init__(self, path: Path) -> None:
        """Listen at `path`, which may be longer than sockaddr_un allows."""
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        path.chmod(0o600)
        self._listener.listen(8)
        self._listener.setblocking(False)
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._peer: socket.socket | None = None
        self._splitter = wire.Splitter()
        self._outbox = bytearray()
        self._writing = False
        self.accepted = False
        self.lost = False

    @property
    def connected(self) -> bool:
        """Whether a gateway is connected."""
        return self._peer is not None

    @property
    def pending(self) -> int:
        """Bytes that the gateway has not read yet."""
        return len(self._outbox)

    def wake_descriptor(self) -> int:
        """A descriptor for signal.set_wakeup_fd: a byte written to it ends a wait."""
        return self._waker.fileno()

    def wake(self) -> None:
        """End the current or next wait; may be called by any thread."""
        with contextlib.suppress(BlockingIOError):
            self._waker.send(b"\0")

    def wait(self, timeout_s: float) -> list[wire.Inbox]:
        """Wait for an event or the timeout; return the frames received."""
        inboxes: list[wire.Inbox] = []
        for key, events in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(64)
            else:
                if events & selectors.EVENT_WRITE:
                    self._flush()
                if events & selectors.EVENT_READ:
                    inboxes += self._read()
        return inboxes

    def send(self, frame: wire.Outbox) -> None:
        """Queue a frame and write what the gateway takes now; without a gateway, discard it."""
        if self._peer is not None:
            self._outbox += wire.encode(frame)
            self._flush()

    def drop(self) -> None:
        """End the connection."""
        if self._peer is None:
            return
        self._selector.unregister(self._peer)
        self._peer.close()
        self._peer = None
        self._outbox.clear()
        self._splitter = wire.Splitter()
        self._writing = False
        self.lost = True
        self._selector.register(self._listener, selectors.EVENT_READ)

    def hide(self) -> None:
        """Accept no new connection from now on."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def close(self) -> None:
        """Close everything."""
        self.drop()
        self.hide()
        self._selector.close()
        for one in (self._listener, self._wake, self._waker):
            one.close()

    def _accept(self) -> None:
        try:
            self._peer, _ = self._listener.accept()
        except OSError:
            return
        self._peer.setblocking(False)
        self._selector.unregister(self._listener)  # the next connection waits in the backlog
        self._selector.register(self._peer, selectors.EVENT_READ)
        self.accepted = True

    def _read(self) -> list[wire.Inbox]:
        if self._peer is None:
            return []
        try:
            data = self._peer.recv(_CHUNK)
            if not data:
                self.drop()
                return []
            return [wire.decode_inbox(body) for body in self._splitter.feed(data)]
        except BlockingIOError:
            return []
        except (OSError, wire.FrameError):
            self.drop()
            return []

    def _flush(self) -> None:
        if self._peer is None:
            return
        try:
            while self._outbox:
                del self._outbox[: self._peer.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.drop()
            return
        writing = bool(self._outbox)
        if writing != self._writing:
            self._writing = writing
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
            self._selector.modify(self._peer, events)
