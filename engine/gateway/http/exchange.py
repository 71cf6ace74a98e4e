"""One request and its answer: the ASGI call, and how the answer is framed.

A body whose length is unknown is chunked for HTTP/1.1 and ends with the connection for HTTP/1.0.
Never reads a socket and sets no timer. Imported by `engine.gateway.http.connection`.
"""

from __future__ import annotations

import asyncio
import re
import time
from email.utils import formatdate
from enum import StrEnum
from http import HTTPStatus
from typing import Final, Protocol

import structlog
from starlette.types import ASGIApp, Message, Scope

from engine.gateway import errors
from engine.gateway.http.outgoing import CONTINUE, Outgoing
from engine.gateway.http.parser import Head

_STATUS: Final = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus
}
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BODYLESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

_log = structlog.get_logger("gateway.http")


class Wire(Protocol):
    """The connection, as its exchanges see it."""

    client: tuple[str, int]
    server: tuple[str, int]
    turn: int | None
    """The number of the request that it began last, among all; None before its first."""

    def wants_body(self) -> None:
        """The application reads the body."""

    def answered(self, exchange: Exchange) -> None:
        """The answer is complete, or cannot be completed."""


class Framing(StrEnum):
    """How the end of an answer is known."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"
    """By the end of the connection: HTTP/1.0 with an unknown length."""
    NONE = "none"
    """It has no body: HEAD, 204, 304."""


class Exchange:
    """`whole`: the request is complete. `keep_alive`: another may follow on the connection.

    `received` and `sent` count bytes, `buffered` those of the body that wait for the application.
    `started` and `complete` are about the answer; `failed`: it ends within. `gone`: the client
    has disconnected, or is treated so. `wire` is its connection.
    """

    def __init__(self, head: Head, wire: Wire, outgoing: Outgoing) -> None:
        self.head = head
        self.wire = wire
        self._outgoing = outgoing
        self._body: list[bytes] = []
        self._delivered = False  # the application has the whole body
        self._expects_continue = head.expects_continue
        self._changed = asyncio.Event()
        self._framing = Framing.NONE
        self._streams = False  # a chunked answer has begun and is not complete
        self._left = 0
        self.buffered = 0
        self.received = self.sent = 0
        self.whole = False
        self.keep_alive = head.keep_alive
        self.started = self.complete = self.failed = self.gone = False

    # what the connection reports

    def add(self, data: bytes) -> None:
        """A part of the body."""
        self.received += len(data)
        if self.gone or self.complete:
            return
        self._body.append(data)
        self.buffered += len(data)
        self._changed.set()

    def end(self) -> None:
        """The request is complete."""
        self.whole = True
        self._changed.set()

    def disconnect(self) -> None:
        """Nothing more is written; the application learns that its client has gone."""
        self.gone = True
        self._body.clear()
        self._changed.set()

    # the ASGI call

    async def run(self, app: ASGIApp) -> None:
        """Answer."""
        try:
            await app(self._scope(), self.receive, self.send)
        except Exception as error:  # noqa: BLE001 a faulty answer must not end the server
            if not self.complete:
                _log.error("an answer failed", path=self.head.path[:200], exc_info=error)
        if not self.complete and not self.gone:
            await self._fail()

    async def receive(self) -> Message:
        """The next part of the body; then, when there is one, the disconnect."""
        if self._expects_continue and not (self.whole or self.started or self.gone):
            self._write(CONTINUE)
        self._expects_continue = False
        while True:
            if self.gone or self.complete:
                return {"type": "http.disconnect"}
            if self._body or (self.whole and not self._delivered):
                break
            self.wire.wants_body()
            self._changed.clear()
            await self._changed.wait()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.buffered = 0
        self._delivered = self.whole
        self.wire.wants_body()
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    async def send(self, message: Message) -> None:
        """Write a part of the answer; waits while the client does not read."""
        if self._outgoing.full is not None:
            await asyncio.shield(self._outgoing.full)
        if self.gone:
            return
        if self._streams and message.get("more_body"):  # as nearly all messages are
            if body := message["body"]:
                data = b"%x\r\n%b\r\n" % (len(body), body)
                self.sent += len(data)
                self._outgoing.write(data)
        elif message["type"] == "http.response.body" and self.started and not self.complete:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start" and not self.started:
            self._write(self._start(message["status"], message.get("headers", ())))
        else:
            raise RuntimeError(f"unexpected {message['type']}")

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._framing is Framing.CHUNKED:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                data += b"0\r\n\r\n"
        elif self._framing is Framing.NONE:
            data = b""
        else:
            data = body
            if self._framing is Framing.LENGTH:
                self._left -= len(body)
                if self._left < 0 or (self._left and not more):
                    raise RuntimeError("the answer does not have its Content-Length")
        if data:
            self._write(data)
        if not more:
            self._complete()

    def _start(self, status: int, headers: object) -> bytes:
        """The head of the answer; decides its framing."""
        lines = [_STATUS[status], _date()]
        framing, closes = None, False
        for name, value in headers:  # type: ignore[attr-defined]
            if _FORBIDDEN.search(name) or _FORBIDDEN.search(value):
                raise RuntimeError(f"invalid header {name!r}")
            lines += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                framing, self._left = Framing.LENGTH, int(value)
            elif name == b"connection":
                closes = closes or value.lower() == b"close"
        if self.head.method == "HEAD" or status in _BODYLESS:
            framing = Framing.NONE
        elif framing is None and self.head.version == "1.0":
            framing = Framing.CLOSE
        elif framing is None:
            framing = Framing.CHUNKED
            lines.append(b"transfer-encoding: chunked\r\n")
        self._framing = framing
        self._streams = framing is Framing.CHUNKED
        if closes or not self.whole:  # what is left of the body may never come
            self.keep_alive = False
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.started = True
        return b"".join(lines)

    def _write(self, data: bytes) -> None:
        self.sent += len(data)
        self._outgoing.write(data)

    async def _fail(self) -> None:
        """The application ended without an answer: an error, or the end of the connection."""
        self.keep_alive = False
        if self.started:
            self.failed = True
            self._complete()
            return
        problem = errors.Broken("Internal error; see the gateway's log.", code="internal")
        self._write(error(problem))
        self.started = True
        self._complete()

    def _complete(self) -> None:
        self.complete = True
        self._streams = False
        self._body.clear()
        self._changed.set()
        self.wire.answered(self)

    def _scope(self) -> Scope:
        head = self.head
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": self.wire.client,
            "server": self.wire.server,
            "state": {},
        }


def error(problem: errors.Problem) -> bytes:
    """A whole response that ends its connection."""
    body = problem.document()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **problem.headers(),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"".join((_STATUS[problem.status], _date(), lines.encode(), b"\r\n", body))


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The Date header, made once a second."""
    global _dated  # noqa: PLW0603 one clock for all connections
    now = int(time.time())
    if now != _dated[0]:
        _dated = now, f"date: {formatdate(now, usegmt=True)}\r\n".encode()
    return _dated[1]
