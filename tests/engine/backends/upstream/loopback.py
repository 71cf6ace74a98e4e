"""A loopback server that answers as a test wants: correctly, wrongly, slowly or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

SSE: Final = "text/event-stream"
JSON: Final = "application/json"


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body, decoded."""
        return json.loads(self.body)


class Reply:
    """What a script writes to one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int = 200, kind: str = SSE, **headers: str) -> None:
        """A status line and headers; the body is chunked unless a length is given."""
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}"]
        if "content_length" not in headers:
            headers["transfer_encoding"] = "chunked"
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def chunk(self, data: bytes) -> None:
        """A piece of a chunked body."""
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, document: Any) -> None:
        """A server-sent event."""
        text = document if isinstance(document, str) else json.dumps(document)
        await self.chunk(f"data: {text}\n\n".encode())

    async def text(self, *parts: str) -> None:
        """Chunks of a text completion."""
        for part in parts:
            await self.event({"choices": [{"index": 0, "text": part, "finish_reason": None}]})

    async def finish(self, reason: str = "stop", **usage: int) -> None:
        """The end of an answer, as OpenAI's API has it."""
        await self.event({"choices": [{"index": 0, "text": "", "finish_reason": reason}]})
        if usage:
            await self.event({"choices": [], "usage": usage})
        await self.event("[DONE]")
        await self.end()

    async def end(self) -> None:
        """The end of a chunked body."""
        await self.raw(b"0\r\n\r\n")

    async def document(self, value: Any, status: int = 200, **headers: str) -> None:
        """A whole JSON body."""
        data = json.dumps(value).encode()
        await self.head(status, JSON, content_length=str(len(data)), **headers)
        await self.raw(data)

    async def gone(self) -> None:
        """Returns when the client has closed the connection."""
        while await self._reader.read(1024):
            pass

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


Script = Callable[[Asked, Reply], Awaitable[None]]


@dataclass
class Loopback:
    """`asked` are the completions so far; `script` answers them, `health` the health check.

    `owner` is who its models say made them.
    """

    url: str
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    script: Script | None = None
    health: int = 200
    metrics: str = ""
    owner: str = ""


@asynccontextmanager
async def serving(script: Script | None = None) -> AsyncIterator[Loopback]:
    """A server on a free port; connections that remain at the end are cut."""
    loopback = Loopback("", script=script)
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loopback.connections += 1
        writers.add(writer)
        try:
            while (asked := await _read(reader)) is not None:
                await _answer(loopback, asked, Reply(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    loopback.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield loopback
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await server.wait_closed()


async def _answer(loopback: Loopback, asked: Asked, reply: Reply) -> None:
    if asked.path == "/v1/models":
        models = [{"id": "m", "owned_by": loopback.owner}] if loopback.owner else []
        await reply.document({"data": models}, loopback.health)
    elif asked.path == "/metrics":
        data = loopback.metrics.encode()
        await reply.head(200, "text/plain", content_length=str(len(data)))
        await reply.raw(data)
    else:
        loopback.asked.append(asked)
        assert loopback.script is not None
        await loopback.script(asked, reply)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body)
