"""HTTP connections to one server: bounded, kept alive, one exchange at a time on each.

HTTP/1.1 over httpx, without compression and without redirects. Timeouts apply to events, not to
bytes, so that a server that sends only comments times out. Knows nothing of jobs. Imported by its
neighbours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

from engine.backends.upstream import faults, overhead, sse
from engine.backends.upstream.pieces import Pieces
from engine.backends.upstream.slots import Full, Slots
from engine.execution import failures
from storage.requests import Class

ERROR_LIMIT: Final = 64 * 1024
BODY_LIMIT: Final = 16 * 1024 * 1024
_KEPT_S: Final = 30
_RANKS: Final = {class_: rank for rank, class_ in enumerate(Class)}
_LOST: Final = ("server disconnected", "peer closed connection", "incomplete")


class Lost(Exception):
    """The connection ended before the answer did; a retry on another one may succeed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is reached. `url` is its API's base; times in seconds."""

    name: str
    url: str
    key: str | None = None
    max_connections: int = 64
    connect_s: float = 5.0
    first_event_s: float = 60.0
    read_s: float = 30.0


Item = list[sse.Event] | bytes
"""The events of one read, or the document that came instead of a stream."""
Stream = AsyncGenerator[Item, float | None]


class Server:
    """Where requests are sent; `slots` bound how many at a time.

    `maker` is the program that answers, as far as it was asked.
    """

    def __init__(self, settings: Settings) -> None:
        """Connects when it is used."""
        self.settings = settings
        self.slots = Slots(settings.max_connections)
        self.maker = ""
        self.unanswered: dict[object, float] = {}
        """Requests without a first token, the oldest first, with the loop's time of their start."""
        self._client = _client(settings)

    @asynccontextmanager
    async def slot(self, class_: Class, tenant: str, within_s: float) -> AsyncIterator[None]:
        """Hold a connection's slot; classes are served in their order, tenants share.

        Raises:
            failures.Unavailable: none came free in time.
            failures.Overloaded: too many requests wait for one.
        """
        name = self.settings.name
        try:
            async with asyncio.timeout(within_s):
                await self.slots.take(_RANKS[class_], tenant)
        except TimeoutError:
            raise failures.Unavailable(
                f"all connections to upstream {name} are busy and none came free in time",
                code="deadline",
                retry_after_us=faults.RETRY_US,
            ) from None
        except Full:
            raise failures.Overloaded(
                f"all connections to upstream {name} are busy and its queue is full",
                code="queue_full",
                retry_after_us=faults.RETRY_US,
            ) from None
        try:
            yield
        finally:
            self.slots.give(tenant)

    def oldest(self) -> float | None:
        """Since when a request has waited for a slot or its first token, in the loop's time."""
        sent = next(iter(self.unanswered.values()), None)
        return min((each for each in (self.slots.oldest(), sent) if each is not None), default=None)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def stream(
        self, path: str, body: bytes, *, deadline: float, headers: dict[str, str]
    ) -> Stream:
        """The response to a POST: the events of each read, or one document.

        `deadline` for the first event is in the event loop's time; the consumer sets the next one
        with `asend`.

        Raises:
            failures.Failure: the server refuses or breaks the protocol.
            TimeoutError: nothing arrived by the deadline.
            Lost: the connection ended too early.
        """
        async with self._exchange(path, body, deadline, headers) as response:
            if response.status_code != HTTPStatus.OK:
                body_read = await self._all(response, ERROR_LIMIT, deadline, cut=True)
                raise faults.refusal(
                    self.settings.name, response.status_code, response.headers, body_read or b""
                )
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if "content-encoding" in response.headers:
                raise faults.malformed(self.settings.name, "it compressed what was asked for plain")
            if kind == "application/json":
                document = await self._all(response, BODY_LIMIT, deadline)
                if document is None:
                    raise faults.malformed(self.settings.name, "its answer exceeds 16 MiB")
                yield document
                return
            if kind != "text/event-stream":
                found = kind[:80] or "none"
                raise faults.malformed(
                    self.settings.name, f"content type {found} instead of text/event-stream"
                )
            parser, pieces = sse.Parser(), self._pieces(response)
            chunks = response.aiter_raw()
            while True:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                await pieces.take(chunk)
                try:
                    events = parser.feed(chunk)
                except sse.TooLong:
                    what = f"an event exceeds {sse.EVENT_LIMIT} bytes"
                    raise faults.malformed(self.settings.name, what) from None
                if events:
                    pieces.useful()
                    later = yield events
                    deadline = deadline if later is None else later

    async def post(
        self, path: str, body: bytes, *, deadline: float, headers: dict[str, str] | None = None
    ) -> bytes:
        """The document in the response to a POST.

        Raises:
            failures.Failure, TimeoutError, Lost: as `stream`.
        """
        async with self._exchange(path, body, deadline, headers or {}) as response:
            document = await self._all(response, BODY_LIMIT, deadline, cut=True) or b""
            if response.status_code != HTTPStatus.OK:
                raise faults.refusal(
                    self.settings.name, response.status_code, response.headers, document
                )
            return document

    async def get(self, url: str, *, limit: int, within_s: float) -> tuple[int, bytes | None]:
        """Status and body of a GET; the body is None when it exceeds the limit.

        Raises:
            TimeoutError: it did not answer in time.
            httpx.HTTPError: it cannot be reached, or breaks HTTP.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        async with asyncio.timeout_at(deadline), self._client.stream("GET", url) as response:
            return response.status_code, await self._all(response, limit, deadline)

    async def _all(
        self, response: httpx.Response, limit: int, deadline: float, *, cut: bool = False
    ) -> bytes | None:
        """A whole body; None if it exceeds the limit, or truncated with `cut`."""
        body, pieces = bytearray(), self._pieces(response)
        async with asyncio.timeout_at(deadline):
            async for piece in response.aiter_raw():
                await pieces.take(piece)
                body += piece
                if len(body) > limit:
                    return bytes(body[:limit]) if cut else None
        return bytes(body)

    def _pieces(self, response: httpx.Response) -> Pieces:
        return Pieces(self.settings.name, lambda: overhead.received(response))

    @asynccontextmanager
    async def _exchange(
        self, path: str, body: bytes, deadline: float, headers: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """A POST, with connection errors translated."""
        name = self.settings.name
        if self._client.is_closed:
            raise failures.Unavailable(
                f"connections to upstream {name} are being closed; send the request again",
                code="upstream_gone",
            )
        request = self._client.build_request(
            "POST",
            f"{self.settings.url}/{path}",
            content=body,
            headers={"content-type": "application/json", **headers},
        )
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                with contextlib.suppress(httpx.HTTPError):
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise faults.unreachable(name, reason(error)) from error
        except httpx.RemoteProtocolError as error:
            if any(sign in str(error).lower() for sign in _LOST):
                raise Lost(reason(error)) from error
            raise faults.malformed(name, reason(error)) from error
        except httpx.HTTPError as error:
            raise Lost(reason(error)) from error


def reason(error: BaseException) -> str:
    """Why a connection failed, as a clause."""
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection within the connect timeout"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | ssl.SSLError):
            return (cause.strerror or str(cause)).lower()
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return str(error).rstrip(".")[:200] or type(error).__name__


def _client(settings: Settings) -> httpx.AsyncClient:
    headers = {"accept-encoding": "identity", "user-agent": "paddock"}
    if settings.key is not None:
        headers["authorization"] = f"Bearer {settings.key}"
    remote = settings.url.startswith("https:")
    client = httpx.AsyncClient(
        headers=headers,
        verify=remote,
        trust_env=remote,  # a proxy is for remote servers, not for one on this box
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=settings.connect_s),
        limits=httpx.Limits(
            max_connections=None,  # `slots` bound them, in the order of classes
            max_keepalive_connections=settings.max_connections,
            keepalive_expiry=_KEPT_S,
        ),
    )
    overhead.bound(client)
    return client
