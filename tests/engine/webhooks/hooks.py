"""A webhook's server on loopback, which behaves as a test says: well, badly, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

_LENGTH: Final = re.compile(r"content-length: (\d+)", re.IGNORECASE)


class Does(StrEnum):
    """What the server does with a request, beside answering with a status."""

    HANG = "hang"  # reads it and never answers
    DROP = "drop"  # closes the connection without a byte
    HALF = "half"  # closes the connection within the body
    ENDLESS = "endless"  # answers 200 and sends a body for as long as it is read


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """Its JSON."""
        return json.loads(self.raw)


@dataclass
class Hook:
    """The server: what it does next, the last of it again and again, and what it was sent."""

    does: list[bytes | Does]
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    before: Callable[[], object] | None = None
    """Called with each request, before it is answered."""
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/gate"

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that it was sent."""
        return [request.headers["webhook-id"] for request in self.requests]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = _LENGTH.search(head)
            raw = await reader.readexactly(int(length[1]) if length else 0)
            lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
            self.requests.append(Request({name.lower(): value for name, _, value in lines}, raw))
            self.arrived.set()
            if self.before is not None:
                self.before()
            does = self.does.pop(0) if len(self.does) > 1 else self.does[0]
            await self._do(does, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _do(
        self, does: bytes | Does, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match does:
            case bytes():
                writer.write(does)
            case Does.HANG:
                await reader.read()  # until the client has given up
            case Does.DROP:
                pass
            case Does.HALF:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{")
            case Does.ENDLESS:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while not writer.is_closing():
                    writer.write(b" " * 4096)
                    await writer.drain()
        await writer.drain()


def answer(status: int, body: object = None, **headers: str) -> bytes:
    """A whole response, with JSON unless the body is bytes."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(raw)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + raw


YES: Final = answer(200)
NO: Final = answer(200, {"proceed": False, "reason": "the error budget is spent"})


@asynccontextmanager
async def served(*does: bytes | Does) -> AsyncIterator[Hook]:
    """A server that does these in turn."""
    hook = Hook(list(does))
    server = await asyncio.start_server(hook.connected, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield hook
        finally:
            for task in hook.connections:
                task.cancel()
            await asyncio.gather(*hook.connections, return_exceptions=True)
