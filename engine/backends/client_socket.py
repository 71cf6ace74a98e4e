"""The connection to a worker: connects to its socket and splits the byte stream into frames.

Knows frames, not what they mean. Imported by `engine.backends.worker_client`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol, cast

from engine.serving import framing, wire


class Listener(Protocol):
    """Follows one connection after the other."""

    def connected(self, transport: asyncio.Transport) -> None:
        """Connected; the worker sends first."""

    def received(self, outbox: wire.Outbox) -> None:
        """The worker sent a frame."""

    def disconnected(self) -> None:
        """The connection has ended."""


class _FrameProtocol(asyncio.Protocol):
    def __init__(self, listener: Listener, ended: asyncio.Future[None]) -> None:
        self._listener = listener
        self._ended = ended
        self._splitter = framing.Splitter()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._listener.connected(self._transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._splitter.feed(data):
                self._listener.received(framing.decode_outbox(body))
        except framing.FrameError:
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._listener.disconnected()
        if not self._ended.done():
            self._ended.set_result(None)


async def connect(socket: Path, listener: Listener) -> asyncio.Future[None]:
    """Connect; the future is done when the connection has ended.

    Raises:
        OSError: no worker listens there.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY)
    try:  # through the folder's descriptor: the path may be longer than sockaddr_un allows
        await loop.create_unix_connection(
            lambda: _FrameProtocol(listener, ended), f"/proc/self/fd/{folder}/{socket.name}"
        )
    finally:
        os.close(folder)
    return ended
