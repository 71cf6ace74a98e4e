"""A connection without a network: the client's end, a clock that is turned by hand, an application.

The clock replaces the loop's timers, so that a test sees what each state waits for and how long.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from engine.gateway.http.admission import Admission
from engine.gateway.http.connection import Connection
from engine.gateway.http.exchange import Exchange
from engine.gateway.http.limits import Limits
from engine.gateway.http.parser import Head
from engine.gateway.http.refusals import Refusals
from engine.gateway.http.turns import Turns

LIMITS = Limits(connections=8, per_address=4)
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """The client's end: what was written to it, and how the connection ended."""

    def __init__(self, host: str = "192.0.2.1", *, port: int = 40_000, unread: int = 0) -> None:
        """`unread` is what the client has yet to read."""
        super().__init__()
        self._names = {"peername": (host, port), "sockname": ("192.0.2.9", 8411)}
        self.written = b""
        self.unread = unread
        self.finished = self.closed = self.aborted = False
        self._reading = True
        self.over = asyncio.Event()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The addresses."""
        return self._names.get(name, default)

    def get_write_buffer_size(self) -> int:
        """What the client has yet to read."""
        return self.unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """What the gateway says."""
        assert not self.finished, "written after the end"
        self.written += bytes(data)

    def write_eof(self) -> None:
        """The gateway says no more."""
        self.finished = True
        self.over.set()

    def close(self) -> None:
        """After what was written."""
        self.closed = True
        self.over.set()

    def abort(self) -> None:
        """At once."""
        self.aborted = True
        self.over.set()

    def is_closing(self) -> bool:
        """Whether nothing more may be written."""
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        """The gateway reads no more for now."""
        assert self._reading, "paused twice"
        self._reading = False

    def resume_reading(self) -> None:
        """It reads again."""
        assert not self._reading, "resumed twice"
        self._reading = True

    def is_reading(self) -> bool:
        """Whether the gateway reads what the client sends."""
        return self._reading

    def error(self) -> dict[str, Any]:
        """The OpenAI error object that was said last."""
        *_, last = re.finditer(rb"HTTP/1\.1 \d{3} ", self.written)
        head, _, body = self.written[last.start() :].partition(b"\r\n\r\n")
        assert b"content-type: application/json" in head
        assert b"connection: close" in head
        error: dict[str, Any] = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class Clock:
    """Timers that fire when the clock is turned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = 0.0
        self._timers: list[tuple[float, Timer]] = []
        monkeypatch.setattr(loop, "call_later", self._call_later)
        monkeypatch.setattr(loop, "time", lambda: self.now)

    def _call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(callback, args)
        self._timers.append((self.now + delay, timer))
        return timer

    @property
    def waiting(self) -> list[float]:
        """When the timers that are set will fire, counted from now."""
        return sorted(at - self.now for at, timer in self._timers if not timer.is_over)

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while due := [each for each in self._timers if not each[1].is_over and each[0] <= until]:
            self.now, timer = min(due, key=lambda each: each[0])
            timer.fire()
        self.now = until


class Timer:
    """One timer."""

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._callback = callback
        self._args = args
        self.is_over = False

    def cancel(self) -> None:
        """It does not fire."""
        self.is_over = True

    def fire(self) -> None:
        """Its time has come."""
        self.is_over = True
        self._callback(*self._args)


class App:
    """An ASGI application that reads each body, and answers when it is let.

    `answer` has the messages that it sends; `{target}` in a body is the path.
    """

    def __init__(self, *, hasty: bool = False) -> None:
        """`hasty`: it answers without reading the body."""
        self.hasty = hasty
        self.asked: list[Scope] = []
        self.bodies: list[bytes] = []
        self.heard = asyncio.Event()
        self.let = asyncio.Event()
        self.left: list[str] = []
        self.headers: Mapping[bytes, bytes] = {}
        self.parts: list[bytes] = [b"answer"]
        self.status = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.asked.append(scope)
        self.heard.set()
        if not self.hasty:
            body = b""
            while (message := await receive())["type"] == "http.request":
                body += message["body"]
                if not message["more_body"]:
                    break
            else:
                self.left.append(scope["path"])
                return
            self.bodies.append(body)
        if await self._gone(receive):
            self.left.append(scope["path"])
            return
        await send(
            {"type": "http.response.start", "status": self.status, "headers": self.headers.items()}
        )
        for number, part in enumerate(self.parts, 1):
            message = {"type": "http.response.body", "body": part}
            await send({**message, "more_body": number < len(self.parts)})

    async def _gone(self, receive: Receive) -> bool:
        """Wait until it is let, or its client has gone."""
        if self.let.is_set():
            return False
        waiting: asyncio.Future[Message] = asyncio.ensure_future(receive())
        letting = asyncio.ensure_future(self.let.wait())
        done, pending = await asyncio.wait((waiting, letting), return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        return waiting in done and waiting.result()["type"] == "http.disconnect"


class Bench:
    """Connections over an application."""

    def __init__(self, limits: Limits = LIMITS, app: App | None = None) -> None:
        self.limits = limits
        self.app = app or App()
        self.admission = Admission(limits)
        self.refusals = Refusals()
        self.turns = Turns(self._answer)
        self.tasks: set[asyncio.Task[None]] = set()

    def connect(self, wire: Wire | None = None) -> tuple[Connection, Wire]:
        """A client connects."""
        wire = wire or Wire()
        connection = Connection(
            self.limits, self.admission, self.refusals, self.turns.ask, urgent=self._urgent
        )
        connection.connection_made(wire)
        return connection, wire

    @staticmethod
    def _urgent(head: Head) -> bool:
        return head.path == "/healthz"

    def _answer(self, exchange: Exchange) -> None:
        task = asyncio.ensure_future(exchange.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def settle(self) -> None:
        """Let the application do what it can."""
        for _ in range(30):
            await asyncio.sleep(0)
