"""Below the requests: what is no HTTP, heads that do not end, clients that do not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from engine.gateway import http_protocol
from engine.gateway.http_protocol import Connection

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """The client's end: what was written to it, and whether it was hung up on."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.aborted = False
        self.over = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """What the gateway says."""
        self.written += bytes(data)

    def close(self) -> None:
        """After what was written."""
        self.closed = True
        self.over.set()

    def abort(self) -> None:
        """At once."""
        self.aborted = True

    def is_closing(self) -> bool:
        """Whether nothing more may be written."""
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        """Nothing to do."""

    def resume_reading(self) -> None:
        """Nothing to do."""

    def error(self) -> dict[str, Any]:
        """The OpenAI error object that was said."""
        head, _, body = self.written.partition(b"\r\n\r\n")
        assert b"content-type: application/json" in head
        error: dict[str, Any] = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class Bench:
    """A connection with a wire, over an application that answers when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.wire = Wire()
        config = uvicorn.Config(
            self._app, http=Connection, ws="none", lifespan="off", interface="asgi3"
        )
        self.connection = Connection(config, ServerState(), {})
        self.connection.connection_made(self.wire)

    async def _app(self, _scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await receive()
        waiting = asyncio.ensure_future(receive())
        letting = asyncio.ensure_future(self.let.wait())
        await asyncio.wait((waiting, letting), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done() and waiting.result()["type"] == "http.disconnect":
            self.left.set()
        letting.cancel()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})
        waiting.cancel()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A server without any connection yet."""
    made = Bench()
    yield made
    made.connection.connection_lost(None)


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\xfc",
        b"GET /v1/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"FOO / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-paddock-class: \x1b[31m\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    ],
)
async def test_what_is_no_http_gets_an_error_object(bench: Bench, said: bytes) -> None:
    """As every other error; then the connection ends."""
    bench.connection.data_received(said)
    assert bench.wire.written.startswith(b"HTTP/1.1 400 ")
    assert bench.wire.error()["code"] == "invalid_http"
    assert bench.wire.closed


async def test_a_head_without_end_is_refused_before_it_fills_the_memory(bench: Bench) -> None:
    """However it is cut up."""
    bench.connection.data_received(b"GET / HTTP/1.1\r\nx-a: ")
    sent = 0
    while not bench.wire.closed and sent < 10 * http_protocol.HEAD_LIMIT:
        bench.connection.data_received(b"a" * 4096)
        sent += 4096
    assert sent <= 2 * http_protocol.HEAD_LIMIT
    assert bench.wire.error()["code"] == "head_too_large"


async def test_a_long_body_is_no_head(bench: Bench) -> None:
    """What follows a head is counted by others."""
    length = 4 * http_protocol.HEAD_LIMIT
    bench.connection.data_received(
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length
    )
    for _ in range(4):
        bench.connection.data_received(b"a" * http_protocol.HEAD_LIMIT)
    assert not bench.wire.closed


async def test_garbage_behind_a_request_writes_nothing_into_its_answer(bench: Bench) -> None:
    """The connection ends, and the application learns that its client has gone."""
    bench.connection.data_received(REQUEST)
    await bench.asked.wait()
    bench.connection.data_received(b"garbage\r\n\r\n")
    await bench.left.wait()
    assert bench.wire.closed
    assert bench.wire.written == b""


async def test_a_client_that_sends_nothing_more_gets_its_answer(bench: Bench) -> None:
    """After what every client passes over; then the connection ends."""
    bench.connection.data_received(REQUEST)
    await bench.asked.wait()
    assert bench.connection.eof_received()
    assert bench.wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    bench.let.set()
    await bench.wire.over.wait()
    assert bench.wire.written.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close" in bench.wire.written
    assert bench.wire.written.endswith(b"answer\r\n0\r\n\r\n")


async def test_a_client_that_has_gone_is_known_by_what_it_does_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked until a write fails; the application learns that its client has left."""
    bench = Bench()
    bench.connection.data_received(REQUEST)
    await bench.asked.wait()
    handles = timers(asyncio.get_running_loop(), monkeypatch)
    bench.connection.eof_received()
    ring(handles[-1])
    assert bench.wire.written == b"HTTP/1.1 100 Continue\r\n\r\n" * 2
    bench.connection.connection_lost(BrokenPipeError())
    assert handles[-1].cancelled()
    await bench.left.wait()


async def test_a_client_that_leaves_within_its_request_has_gone(bench: Bench) -> None:
    """An incomplete request gets no answer."""
    bench.connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
    assert not bench.connection.eof_received()
    assert bench.wire.written == b""


def timers(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whatever is set from now on, as handles, in order."""
    handles: list[asyncio.TimerHandle] = []
    real = loop.call_later

    def noted(delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        handles.append(real(delay, callback, *args))
        return handles[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    return handles


def ring(handle: Any) -> None:
    """What happens when the time of a handle has come."""
    handle._callback(*handle._args)


async def test_a_head_that_does_not_come_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when nothing was sent; a complete head stops the timer."""
    handles = timers(asyncio.get_running_loop(), monkeypatch)
    silent, quick = Bench(), Bench()
    quick.connection.data_received(REQUEST)
    late, in_time = handles
    assert in_time.cancelled()
    assert not late.cancelled()
    ring(late)
    assert silent.wire.error()["code"] == "head_timeout"
    assert silent.wire.closed
    quick.let.set()
    for each in (silent, quick):
        each.connection.connection_lost(None)


async def test_a_client_that_takes_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads, however slowly, is not."""
    slow, stuck = Bench(), Bench()
    handles = timers(asyncio.get_running_loop(), monkeypatch)
    for each in (slow, stuck):
        each.connection.pause_writing()
    reads, never = handles
    slow.connection.resume_writing()
    assert reads.cancelled()
    ring(never)
    assert (slow.wire.aborted, stuck.wire.aborted) == (False, True)
    for each in (slow, stuck):
        each.connection.connection_lost(None)
