"""A closed-loop HTTP client that costs little: no parsing on the way.

Speaks just enough HTTP/1.1 to drive completions on loopback. While tokens come in it counts and
timestamps events; bodies are parsed when a measurement is over. A connection
serves one request, because some servers close it after a stream. Knows no server in particular.
Imported by the bench only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

EVENT: Final = b"data: {"
KEEP: Final = len(EVENT) - 1


@dataclass(slots=True)
class Exchange:
    """One request and what came back; times in nanoseconds of the monotonic clock."""

    sent_ns: int
    events_ns: list[int] = field(default_factory=list)
    ended_ns: int = 0
    status: int = 0
    body: bytearray = field(default_factory=bytearray)

    def documents(self) -> list[dict[str, object]]:
        """The JSON documents of the answer: one, or those of the stream's events."""
        text = bytes(self.body)
        if not self.events_ns:
            return [json.loads(text)]
        lines = (line for line in text.split(b"\n") if line.startswith(EVENT))
        return [json.loads(line[len(b"data: ") :]) for line in lines]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request was worth: tokens, and when they came (microseconds)."""

    tokens: int
    prompt_tokens: int | None
    ttft_us: int | None
    gaps_us: tuple[int, ...]
    latency_us: int


class ServerFailed(Exception):
    """A server answered something that is no completion; the message holds what it said."""


class Connection(asyncio.Protocol):
    """One connection; `ask` sends a request and returns when its answer is whole."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._in_body = False
        self._left = 0
        self._chunked = False
        self._tail = b""
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[Exchange] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Counts events; ends the exchange when its framing says that it is over."""
        now = time.monotonic_ns()
        exchange = self._exchange
        if exchange is None:
            return
        if not self._in_body:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = bytes(self._head[end + 4 :])
            self._read_head(exchange, bytes(self._head[:end]))
        if not data:
            return
        seen = self._tail + data
        exchange.events_ns.extend([now] * seen.count(EVENT))
        self._tail = seen[-KEEP:]
        exchange.body += data
        if not self._chunked:
            self._left -= len(data)
        is_over = exchange.body.endswith(b"0\r\n\r\n") if self._chunked else self._left <= 0
        if is_over and self._done is not None and not self._done.done():
            exchange.ended_ns = now
            self._done.set_result(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that is cut off fails its request."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(ServerFailed(f"the connection ended early: {exc}"))

    async def ask(self, request: bytes) -> Exchange:
        """Sends one request and waits for the whole answer."""
        if self._transport is None:
            raise ServerFailed("not connected")
        self._head.clear()
        self._in_body, self._tail = False, b""
        self._done = asyncio.get_running_loop().create_future()
        self._exchange = Exchange(sent_ns=time.monotonic_ns())
        self._transport.write(request)
        return await self._done

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def _read_head(self, exchange: Exchange, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        exchange.status = int(first.split()[1])
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        self._in_body = True
        self._chunked = fields.get(b"transfer-encoding", b"").lower() == b"chunked"
        self._left = int(fields.get(b"content-length", b"0"))


def request(path: str, headers: Mapping[str, str], document: Mapping[str, object]) -> bytes:
    """The bytes of a POST."""
    body = json.dumps(document).encode()
    fields = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def closed_loop(port: int, per_client: list[list[bytes]]) -> tuple[list[Exchange], int]:
    """Lets each client send its requests one after another; returns answers and wall time in ns."""
    loop = asyncio.get_running_loop()

    async def ask(request: bytes) -> Exchange:
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        try:
            return await connection.ask(request)
        finally:
            connection.close()

    async def drive(requests: list[bytes]) -> list[Exchange]:
        return [await ask(each) for each in requests]

    began = time.monotonic_ns()
    done = await asyncio.gather(*(drive(requests) for requests in per_client))
    return [exchange for each in done for exchange in each], time.monotonic_ns() - began


def read(exchange: Exchange, max_tokens: int) -> Answer:
    """Turns an exchange into figures.

    Tokens are what `usage` says; a stream without it that ended for length had all it asked for.
    """
    if exchange.status != 200:
        raise ServerFailed(f"HTTP {exchange.status}: {bytes(exchange.body[:300])!r}")
    reason, counted, prompt_tokens = None, None, None
    times: list[int] = []
    for at_ns, document in zip(
        exchange.events_ns or [exchange.ended_ns], exchange.documents(), strict=True
    ):
        if "error" in document:
            raise ServerFailed(str(document["error"]))
        for choice in _list(document.get("choices")):
            reason = choice.get("finish_reason") or reason
            if choice.get("text"):
                times.append(at_ns)
        if isinstance(usage := document.get("usage"), dict):
            counted, prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
    if counted is None:
        counted = max_tokens if reason == "length" else len(times)
    is_stream = bool(exchange.events_ns)
    return Answer(
        tokens=counted,
        prompt_tokens=prompt_tokens,
        ttft_us=(times[0] - exchange.sent_ns) // 1000 if is_stream and times else None,
        gaps_us=tuple((b - a) // 1000 for a, b in pairwise(times)),
        latency_us=(exchange.ended_ns - exchange.sent_ns) // 1000,
    )


def _list(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []
