"""The worker's end of its socket: one gateway at a time, and a bounded outbox.

Non-blocking; the loop polls it between steps and waits on it when idle. A second connection waits
in the backlog until the first has ended. If the socket's file is removed, it is bound again within
a second. Knows frames, not what they mean. Imported by the worker.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from pathlib import Path
from typing import Final

from engine.serving import framing, wire

HIGH_WATER: Final = 1 << 20
_CHUNK: Final = 1 << 18
_LOOK_S: Final = 0.5


class ServerSocket:
    """A listening socket and at most one connection.

    `wait` sets `accepted` when a connection began and `lost` when one ended; the caller resets
    them.
    """

    def __init__(self, path: Path) -> None:
        """Listen at `path`, which may be longer than sockaddr_un allows."""
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._listener = _bound(path)
        self._looked_s = time.monotonic()
        self._hidden = False
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._peer: socket.socket | None = None
        self._splitter = framing.Splitter()
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
        self._keep()
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
            for part in framing.outboxes(frame):
                self._outbox += part
            self._flush()

    def drop(self) -> None:
        """End the connection."""
        if self._peer is None:
            return
        self._selector.unregister(self._peer)
        self._peer.close()
        self._peer = None
        self._outbox.clear()
        self._splitter = framing.Splitter()
        self._writing = False
        self.lost = True
        self._selector.register(self._listener, selectors.EVENT_READ)

    def hide(self) -> None:
        """Accept no new connection from now on."""
        self._hidden = True
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def close(self) -> None:
        """Close everything."""
        self.drop()
        self.hide()
        self._selector.close()
        for one in (self._listener, self._wake, self._waker):
            one.close()

    def _keep(self) -> None:
        """Bind the socket again if its file is gone; a gateway that is connected stays so."""
        now = time.monotonic()
        if self._hidden or now - self._looked_s < _LOOK_S:
            return
        self._looked_s = now
        if self._path.exists():
            return
        try:
            fresh = _bound(self._path)
        except OSError:  # the directory is gone: tried again
            return
        if self._peer is None:
            self._selector.unregister(self._listener)
            self._selector.register(fresh, selectors.EVENT_READ)
        self._listener.close()
        self._listener = fresh

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
            return [framing.decode_inbox(body) for body in self._splitter.feed(data)]
        except BlockingIOError:
            return []
        except (OSError, framing.FrameError):
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


def _bound(path: Path) -> socket.socket:
    """A listening socket at the path; its directory is made again where that is missing."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        path.chmod(0o600)
        listener.listen(8)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
