"""When requests begin: a few in each turn of the loop, and who is next."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from engine.gateway.http.admission import Admission
from engine.gateway.http.limits import Limits
from engine.gateway.http.listener import Listener
from engine.gateway.http.refusals import Refusals
from engine.gateway.http.turns import A_TURN, ROUND
from tests.engine.gateway.http.wires import LIMITS, REQUEST, App, Bench, Wire

MANY = 1000
CROWD, QUIET = "192.0.2.1", "198.51.100.7"


class Served(App):
    """Answers at once, and counts the turns of the loop."""

    def __init__(self) -> None:
        super().__init__(hasty=True)
        self.let.set()
        self.turn = 0
        self.begun: Counter[int] = Counter()
        self.clients: list[tuple[str, int]] = []
        self._count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.begun[self.turn] += 1
        self.clients.append(scope["client"])
        await super().__call__(scope, receive, send)

    def _count(self) -> None:
        self.turn += 1
        self._counting = asyncio.get_running_loop().call_soon(self._count)

    def stop(self) -> None:
        """Count no more."""
        self._counting.cancel()


@pytest.fixture
async def app() -> AsyncIterator[Served]:
    """Its turns are counted while the test runs."""
    made = Served()
    yield made
    made.stop()


def bench_of(app: App) -> Bench:
    """Room for all."""
    return Bench(dataclasses.replace(LIMITS, connections=3 * MANY, per_address=3 * MANY), app)


async def turns(number: int) -> None:
    """Let the loop turn."""
    for _ in range(number):
        await asyncio.sleep(0)


def ask(bench: Bench, host: str, port: int = 1, *, requests: int = 1) -> Wire:
    """A client that has connected and sent requests."""
    wire = Wire(host, port=port)
    connection, _ = bench.connect(wire)
    connection.data_received(requests * REQUEST)
    return wire


async def test_a_request_begins_at_once_where_nothing_waits(app: Served) -> None:
    """It costs no turn of the loop."""
    ask(bench_of(app), QUIET)
    before = app.turn
    await asyncio.sleep(0)
    assert app.begun == {before + 1: 1}


async def test_a_quiet_address_waits_a_turn_behind_a_thousand_of_another(app: Served) -> None:
    """Each turn begins a few, of each address in its turn."""
    bench = bench_of(app)
    for port in range(MANY):
        ask(bench, CROWD, port, requests=3)
    await asyncio.sleep(0)
    wire = ask(bench, QUIET)
    await turns(3)
    assert wire.written.startswith(b"HTTP/1.1 200 OK")
    assert len(app.clients) <= 4 * A_TURN
    assert bench.turns.waiting
    await turns(MANY)
    assert len(app.clients) == 3 * MANY + 1
    assert max(app.begun.values()) == A_TURN
    assert not bench.turns.waiting


async def test_within_an_address_who_has_had_least_is_next(app: Served) -> None:
    """A new connection does not wait for a round of those that ask all the time."""
    bench = bench_of(app)
    for port in range(1, MANY):
        ask(bench, CROWD, port, requests=5)
    await turns(MANY // A_TURN + 2)
    assert MANY < len(app.clients) < 2 * MANY
    wire = ask(bench, CROWD, MANY)
    await turns(3)
    assert wire.written.startswith(b"HTTP/1.1 200 OK")
    assert max(Counter(app.clients).values()) == 2
    await turns(MANY)


async def test_new_connections_do_not_starve_one_that_is_kept(
    app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a round of requests at most."""
    monkeypatch.setattr("engine.gateway.http.turns.ROUND", 10 * A_TURN)
    assert ROUND > MANY
    bench = bench_of(app)
    kept, wire = bench.connect(Wire(CROWD, port=1))
    kept.data_received(REQUEST)
    port = 1
    for turn in range(40):
        for _ in range(2 * A_TURN):  # more than begin
            ask(bench, CROWD, port := port + 1)
        if turn == 1:
            kept.data_received(REQUEST)
        await asyncio.sleep(0)
    assert bench.turns.waiting
    assert wire.written.count(b"HTTP/1.1 200 OK") == 2
    await turns(MANY)


async def test_what_has_gone_does_not_begin(app: Served) -> None:
    """Nor does it take the turn of another."""
    bench = bench_of(app)
    connections = [bench.connect(Wire(CROWD, port=port))[0] for port in range(MANY)]
    for each in connections:
        each.data_received(REQUEST)
    for each in connections[A_TURN:]:
        each.connection_lost(None)
    wire = ask(bench, CROWD, MANY)
    await turns(3)
    assert wire.written.startswith(b"HTTP/1.1 200 OK")
    assert len(app.clients) == A_TURN + 1


async def test_a_listener_begins_a_few_in_a_turn_and_drains_all(app: Served) -> None:
    """What waits for its turn when the server stops is answered."""
    listener = Listener(app, Limits(100, 100), Admission(Limits(100, 100)), Refusals())
    with contextlib.ExitStack() as sockets:
        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        peers = [sockets.enter_context(socket.create_connection(address)) for _ in range(50)]
        for each in peers:
            each.sendall(REQUEST)
        listening.setblocking(False)
        await listener.start(listening)
        await app.heard.wait()
        await listener.drain(10)
        for each in peers:
            assert each.recv(4096).startswith(b"HTTP/1.1 200 OK")
    assert max(app.begun.values()) <= A_TURN
