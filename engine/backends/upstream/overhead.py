"""Bounds what a server may send besides the content of its answers: heads and chunk framing.

A response may be preceded by any number of interim ones (`100 Continue`), and each chunk of it may
have an extension of any length. httpx reads both without a turn of the event loop and without end:
a server that sends nothing else would keep all other requests waiting. httpx has no limit for them
and no way to set one, so its network streams are wrapped. Imported by
`engine.backends.upstream.server`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

LIMIT: Final = 128 * 1024
"""Bytes before a response is complete; a single head may have 100 KiB."""
INTERIM: Final = 8
"""Interim responses before a response; servers send one, if any."""
_READ: Final = 4 * 1024
"""Bytes at a time until the head is complete; between two reads the event loop has a turn."""
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_END_BYTES: Final = 4
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1")
_STATUS_BYTES: Final = 10


def bound(client: httpx.AsyncClient) -> None:
    """Bound the heads of all responses to a client that has sent nothing yet."""
    client.event_hooks["response"].append(_complete)
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001 see above
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool: Any = transport._pool  # noqa: SLF001
            pool._network_backend = _Network(pool._network_backend)  # noqa: SLF001


def received(response: httpx.Response) -> int:
    """The bytes of a response's body so far, with their framing, as the connection brought them."""
    stream = response.extensions.get("network_stream")
    return stream.received if isinstance(stream, _Stream) else 0


async def _complete(response: httpx.Response) -> None:
    """Called by httpx when a head is complete."""
    stream = response.extensions.get("network_stream")
    if isinstance(stream, _Stream):
        stream.left, stream.received = None, 0


class _Network(httpcore.AsyncNetworkBackend):
    """Makes connections whose heads are bounded."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 as httpcore declares it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(
            await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection; `left` is how much of a head may still come, None within a body."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._heads = _Heads()
        self.left: int | None = LIMIT
        self.received = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self.left is None:
            data = await self._inner.read(max_bytes, timeout)
            self.received += len(data)
            return data
        data = await self._inner.read(min(max_bytes, _READ), timeout)
        self.left -= len(data)
        if self.left < 0:
            raise httpcore.RemoteProtocolError(f"{LIMIT} bytes came before its response")
        if self._heads.feed(data) > INTERIM:
            raise httpcore.RemoteProtocolError(
                f"more than {INTERIM} heads came before its response"
            )
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.left, self._heads = LIMIT, _Heads()  # a request, which a head answers
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Heads:
    """Counts the interim responses that precede a response, before they are parsed."""

    def __init__(self) -> None:
        self._first = self._last = b""  # bytes of a head that is incomplete
        self._count = 0
        self._final = False

    def feed(self, data: bytes) -> int:
        """The interim responses so far; of a head that does not end no byte is searched twice."""
        while not self._final:
            joined = self._last + data
            end = _HEAD_END.search(joined)
            used = len(data) if end is None else max(0, end.end() - len(self._last))
            self._first = (self._first + data[:used])[:_STATUS_BYTES]
            if end is None:
                self._last = joined[1 - _END_BYTES :]
                break
            self._final = not _INTERIM.match(self._first)
            self._count += not self._final
            self._first, self._last, data = b"", b"", data[used:]
        return self._count
