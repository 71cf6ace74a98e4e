"""Below the requests: malformed HTTP, what never ends, and clients that do not read."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from engine.gateway.http.admission import Admission
from engine.gateway.http.connection import Connection
from engine.gateway.http.limits import Limits
from engine.gateway.http.outgoing import PROBE_S
from engine.gateway.http.refusals import Reason
from engine.gateway.http.states import MOVES, State
from tests.engine.gateway.http.wires import LIMITS, REQUEST, App, Bench, Clock, Wire

POST = b"POST /v1 HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Turned by hand."""
    return Clock(monkeypatch)


@pytest.fixture
async def bench(clock: Clock) -> Bench:
    """A server without any connection yet."""
    del clock
    return Bench()


def begin(bench: Bench, data: bytes = REQUEST) -> tuple[Connection, Wire]:
    """A client that has sent some bytes."""
    connection, wire = bench.connect()
    connection.data_received(data)
    return connection, wire


async def answered(bench: Bench) -> tuple[Connection, Wire]:
    """A client that has its answer, on a connection that is kept."""
    bench.app.let.set()
    connection, wire = begin(bench)
    await bench.settle()
    assert connection.state is State.IDLE
    return connection, wire


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        (b"\x16\x03\x01\x02\x00\x01\xfc", "looks like TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "is HTTP/2"),
        (b"GET /v1/\xff HTTP/1.1\r\nhost: x\r\n\r\n", ""),
        (b"FOO / HTTP/1.1\r\nhost: x\r\n\r\n", ""),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx-paddock-class: \x1b[31m\r\n\r\n", ""),
        (b"GET / HTTP/1.1\r\n\r\n", "Host"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", "Host"),
        (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", "HTTP/1.1"),
        (b"GET / HTTP/0.9\r\n\r\n", "HTTP/1.1"),
        (b"GET * HTTP/1.1\r\nhost: x\r\n x: folded\r\n\r\n", ""),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", "Upgrade"),
        (POST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}", "Upgrade"),
        (POST + b"content-length: -5\r\n\r\n", ""),
        (POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\n", ""),
        (POST + b"content-length: 5, 5\r\n\r\n", ""),
        (POST + b"content-length: +5\r\n\r\n", ""),
        (POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", ""),
        (POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n", ""),
        (POST + b"transfer-encoding: chunked, identity\r\n\r\n", ""),
        (POST + b"transfer-encoding: xchunked\r\n\r\n", ""),
        (POST + b"transfer-encoding : chunked\r\n\r\n", ""),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n", ""),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1"),
    ],
)
async def test_what_is_no_http_gets_an_error_object(bench: Bench, sent: bytes, hint: str) -> None:
    """As every other error; then the connection ends. What can be read in two ways is no HTTP."""
    connection, wire = begin(bench, sent)
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert wire.error()["code"] == "invalid_http"
    assert hint in wire.error()["message"]
    assert wire.finished
    assert connection.state is State.LINGERING
    assert bench.refusals.totals == {Reason.INVALID_HTTP: 1}


@pytest.mark.parametrize("cut", [1, 4096, 10**7])
async def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    bench: Bench, cut: int
) -> None:
    """However it is cut up: many headers, one long header, or blank lines before it."""
    for filling in (b"x-a: aaaa\r\n" * 8000, b"x-a: " + b"a" * 80_000):
        connection, wire = bench.connect()
        head = b"GET / HTTP/1.1\r\nhost: x\r\n" + filling
        for at in range(0, len(head), cut):
            if not wire.finished:
                connection.data_received(head[at : at + cut])
        assert wire.error()["code"] == "head_too_large"
        assert not bench.app.asked
    connection, wire = bench.connect()
    for _ in range(0, 80_000, 4096):
        connection.data_received(b"\r\n" * 2048)
    assert wire.error()["code"] == "head_too_large"


async def test_a_head_without_end_behind_another_request_ends_the_connection(
    bench: Bench,
) -> None:
    """All of it in one read: it is not waited for until the time of the state is over."""
    connection, wire = bench.connect()
    connection.data_received(REQUEST + b"GET / HTTP/1.1\r\nx-a: " + b"a" * 80_000)
    assert wire.closed
    assert connection.state is State.CLOSING


async def test_a_long_body_is_no_head(bench: Bench) -> None:
    """Nor is the head that follows it in the same bytes."""
    length = 4 * LIMITS.head_bytes
    connection, wire = begin(bench, POST + b"content-length: %d\r\n\r\n" % length)
    for _ in range(3):
        connection.data_received(b"a" * LIMITS.head_bytes)
        await bench.settle()
    connection.data_received(b"a" * LIMITS.head_bytes + b"GET /next HTTP/1.1\r\n")
    bench.app.let.set()
    await bench.settle()
    connection.data_received(b"host: x\r\n\r\n")
    await bench.settle()
    assert wire.written.count(b"HTTP/1.1 200 OK") == 2
    assert connection.state is State.IDLE


@pytest.mark.parametrize(
    "framing",
    [b"1;" + b"x" * 4096 + b"\r\na\r\n", b"0\r\nx-a: " + b"a" * 4096, b"0" * 4096],
)
async def test_the_framing_of_a_body_is_bounded(bench: Bench, framing: bytes) -> None:
    """Extensions of chunks, and what stands behind the last one."""
    connection, wire = begin(bench, POST + b"transfer-encoding: chunked\r\n\r\n")
    sent = 0
    while not wire.over.is_set() and sent < 10 * LIMITS.head_bytes:
        connection.data_received(framing if not sent or framing[0] == ord("1") else b"a" * 4096)
        sent += 4096
    assert sent <= 2 * LIMITS.head_bytes
    assert wire.error()["code"] == "invalid_http"


@pytest.mark.parametrize("extension", [100, 700])
async def test_the_framing_of_a_body_is_a_part_of_it(bench: Bench, extension: int) -> None:
    """Eight bytes of it for each byte of content made a body of two megabytes one of eighteen."""
    connection, wire = begin(bench, POST + b"transfer-encoding: chunked\r\n\r\n")
    chunk = b"64;" + b"x" * extension + b"\r\n" + b"a" * 100 + b"\r\n"
    sent = 0
    while not wire.over.is_set() and sent < 10 * LIMITS.head_bytes:
        connection.data_received(chunk * 8)
        sent += 8 * len(chunk)
        await bench.settle()
    assert sent < 4 * LIMITS.head_bytes
    assert "framing" in wire.error()["message"]


@pytest.mark.parametrize("cut", [6, 600, 10**6])
async def test_the_number_of_chunks_is_bounded_by_the_size_of_the_body(
    bench: Bench, cut: int
) -> None:
    """Each chunk costs the same, however small: a megabyte of single bytes is seconds of work."""
    connection, wire = begin(bench, POST + b"transfer-encoding: chunked\r\n\r\n")
    body = b"1\r\na\r\n" * 2_000
    for at in range(0, len(body), cut):
        connection.data_received(body[at : at + cut])
    assert wire.error()["code"] == "invalid_http"
    assert "chunks" in wire.error()["message"]


async def test_a_body_may_have_many_chunks_of_some_size(bench: Bench) -> None:
    """As a client sends that writes line by line."""
    connection, wire = begin(bench, POST + b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(100):
        connection.data_received((b"50\r\n" + b"a" * 0x50 + b"\r\n") * 30)
        await bench.settle()
    bench.app.let.set()
    connection.data_received(b"0\r\n\r\n")
    await bench.settle()
    assert wire.written.count(b"HTTP/1.1 200 OK") == 1


async def test_headers_behind_a_body_are_dropped(bench: Bench) -> None:
    """They could contradict those that were checked."""
    chunks = b"1\r\n{\r\n1\r\n}\r\n0\r\nauthorization: Bearer x\r\n\r\n"
    begin(bench, POST + b"transfer-encoding: chunked\r\n\r\n" + chunks)
    await bench.settle()
    assert bench.app.bodies == [b"{}"]
    assert [name for name, _ in bench.app.asked[0]["headers"]] == [b"host", b"transfer-encoding"]


async def test_garbage_behind_a_request_writes_nothing_into_its_answer(bench: Bench) -> None:
    """The connection ends, and the application learns that its client has gone."""
    connection, wire = begin(bench)
    await bench.settle()
    connection.data_received(b"garbage\r\n\r\n")
    await bench.settle()
    assert bench.app.left == ["/"]
    assert wire.closed
    assert wire.written == b""


async def test_a_client_that_sends_nothing_more_gets_its_answer(bench: Bench) -> None:
    """After what every client passes over; then the connection ends."""
    connection, wire = begin(bench)
    await bench.settle()
    assert connection.eof_received()
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    bench.app.let.set()
    await bench.settle()
    assert wire.written.count(b"HTTP/1.1 200 OK") == 1
    assert wire.written.endswith(b"answer\r\n0\r\n\r\n")
    assert wire.closed


async def test_a_client_that_has_gone_is_known_by_what_it_does_not_take(
    bench: Bench, clock: Clock
) -> None:
    """It is probed until a write fails; the application learns that its client has left."""
    connection, wire = begin(bench)
    await bench.settle()
    connection.eof_received()
    clock.turn(sum(PROBE_S))
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n" * 3
    connection.connection_lost(BrokenPipeError())
    assert clock.waiting == []
    await bench.settle()
    assert bench.app.left == ["/"]


async def test_a_client_that_leaves_within_its_request_has_gone(bench: Bench) -> None:
    """An incomplete request gets no answer."""
    connection, wire = begin(bench, POST + b"content-length: 9\r\n\r\nabc")
    assert not connection.eof_received()
    await bench.settle()
    assert wire.written == b""
    assert bench.app.left == ["/v1"]


# times


async def test_a_head_that_does_not_come_ends_the_connection(bench: Bench, clock: Clock) -> None:
    """Also when nothing was sent, and when it drips; a request in time is not hurried."""
    (silent, said), (dripping, heard), (quick, quiet) = (bench.connect() for _ in range(3))
    quick.data_received(REQUEST)
    await bench.settle()
    for byte in REQUEST[:-1]:
        dripping.data_received(bytes([byte]))
        clock.turn((LIMITS.head_s - 1) / len(REQUEST))
    clock.turn(3)
    assert {each.error()["code"] for each in (said, heard)} == {"head_timeout"}
    assert {silent.state, dripping.state} == {State.LINGERING}
    assert not quiet.over.is_set()


@pytest.mark.parametrize("drip", [b"\r\n", b"G", b"\r"])
async def test_bytes_behind_an_answer_do_not_keep_a_connection(
    bench: Bench, clock: Clock, drip: bytes
) -> None:
    """Whether or not they begin a request."""
    connection, wire = await answered(bench)
    connection.data_received(drip)
    assert connection.state is State.HEAD
    clock.turn(LIMITS.head_s)
    assert wire.error()["code"] == "head_timeout"
    clock.turn(LIMITS.linger_s + LIMITS.flush_s)
    assert wire.aborted


async def test_an_idle_connection_is_closed(bench: Bench, clock: Clock) -> None:
    """Without a word."""
    connection, wire = await answered(bench)
    before = wire.written
    clock.turn(LIMITS.idle_s)
    assert connection.state is State.CLOSING
    assert wire.written == before


async def test_a_body_has_to_arrive_in_time(bench: Bench, clock: Clock) -> None:
    """Also one that comes fast enough, if it does not end."""
    connection, wire = begin(bench, POST + b"transfer-encoding: chunked\r\n\r\n")
    size = int(LIMITS.body_rate * LIMITS.body_window_s)
    for _ in range(int(LIMITS.body_s / LIMITS.body_window_s)):
        assert not wire.finished
        connection.data_received(b"%x\r\n%b\r\n" % (size, b"a" * size))
        await bench.settle()
        clock.turn(LIMITS.body_window_s)
    assert wire.error()["code"] == "body_timeout"
    await bench.settle()
    assert bench.app.left == ["/v1"]


async def test_a_dripping_body_is_ended_early(bench: Bench, clock: Clock) -> None:
    """A minimum rate; a small body that comes late is none."""
    connection, wire = begin(bench, POST + b"content-length: 100\r\n\r\n")
    clock.turn(LIMITS.body_window_s - 1)
    connection.data_received(b"{}")
    assert not wire.finished
    clock.turn(1)
    assert wire.error()["code"] == "body_too_slow"
    assert bench.refusals.totals == {Reason.BODY_TOO_SLOW: 1}


@pytest.mark.parametrize("more", [b"", b"a", b"a" * 70_000, b"\r\n"])
async def test_an_answer_to_an_incomplete_body_ends_the_connection(
    clock: Clock, more: bytes
) -> None:
    """The rest is dropped for a while, so that a reset does not destroy the answer."""
    bench = Bench(app=App(hasty=True))
    bench.app.let.set()
    bench.app.status = 401
    connection, wire = begin(bench, POST + b"content-length: 100000\r\n\r\n{")
    await bench.settle()
    assert wire.written.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close\r\n" in wire.written
    assert connection.state is State.LINGERING
    for _ in range(20):
        clock.turn(LIMITS.linger_s / 20)
        if more:
            connection.data_received(more)
    assert wire.closed
    clock.turn(LIMITS.flush_s)
    assert wire.aborted


async def test_a_client_that_takes_nothing_is_hung_up_on(bench: Bench, clock: Clock) -> None:
    """One that reads, however slowly, is not."""
    (slow, reads), (stuck, never) = begin(bench), begin(bench)
    await bench.settle()
    for each in (slow, stuck):
        each.pause_writing()
    clock.turn(LIMITS.read_s / 2)
    slow.resume_writing()
    slow.pause_writing()
    clock.turn(LIMITS.read_s / 2)
    assert (reads.aborted, never.aborted) == (False, True)
    assert bench.refusals.totals == {Reason.SLOW_READER: 1}


async def test_a_stream_waits_while_its_client_does_not_read(bench: Bench) -> None:
    """And ends when the client has gone."""
    bench.app.let.set()
    bench.app.parts = [b"one", b"two"]
    connection, wire = bench.connect()
    connection.pause_writing()
    connection.data_received(REQUEST)
    await bench.settle()
    assert wire.written == b""
    connection.resume_writing()
    await bench.settle()
    assert wire.written.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    connection.pause_writing()
    connection.data_received(REQUEST)
    connection.connection_lost(None)
    await bench.settle()
    assert not bench.tasks


async def test_an_answer_that_never_comes_ends_the_connection(bench: Bench, clock: Clock) -> None:
    """After an hour without a byte: no state is without an end."""
    connection, wire = begin(bench)
    await bench.settle()
    clock.turn(LIMITS.answer_s - 1)
    assert not wire.over.is_set()
    clock.turn(1)
    assert wire.aborted
    assert connection.state is State.CLOSING
    await bench.settle()
    assert bench.app.left == ["/"]


# order


async def test_pipelined_requests_are_answered_in_their_order(bench: Bench) -> None:
    """Whole ones behind each other, and a next head whose end comes later."""
    many = b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(3))
    connection, wire = begin(bench, many + b"GET /3 HTTP/1.1\r\nho")
    assert not wire.is_reading()
    bench.app.let.set()
    await bench.settle()
    assert wire.is_reading()
    states = [connection.state]
    connection.data_received(b"st: x\r\n\r\n")
    await bench.settle()
    states.append(connection.state)
    assert states == [State.HEAD, State.IDLE]
    assert [each["path"] for each in bench.app.asked] == ["/0", "/1", "/2", "/3"]
    assert wire.written.count(b"HTTP/1.1 200 OK") == 4


async def test_pipelined_requests_and_the_end_of_sending_get_all_answers(bench: Bench) -> None:
    """What is complete is answered, what is not is dropped."""
    whole = POST + b"content-length: 2\r\n\r\n{}"
    connection, wire = begin(bench, whole + whole + whole[:-1])
    assert connection.eof_received()
    bench.app.let.set()
    await bench.settle()
    assert bench.app.bodies == [b"{}", b"{}"]
    assert wire.written.count(b"HTTP/1.1 200 OK") == 2
    assert wire.closed


async def test_too_many_pipelined_requests_end_behind_the_last_that_was_taken(
    bench: Bench,
) -> None:
    """Its answer says so."""
    connection, wire = begin(bench, REQUEST * (LIMITS.pipelined + 5))
    bench.app.let.set()
    await bench.settle()
    await bench.settle()
    await bench.settle()
    assert wire.written.count(b"HTTP/1.1 200 OK") == LIMITS.pipelined + 1
    assert wire.written.count(b"connection: close\r\n") == 1
    assert connection.state is State.LINGERING
    assert bench.refusals.totals == {Reason.PIPELINED: 1}


async def test_nothing_is_read_behind_a_last_request(bench: Bench) -> None:
    """`Connection: close` closes."""
    last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    _, wire = begin(bench, last + REQUEST)
    bench.app.let.set()
    await bench.settle()
    assert wire.written.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close\r\n" in wire.written
    assert wire.closed


# framing


async def test_http_1_0_gets_no_chunks(bench: Bench) -> None:
    """The end of the connection is the end of its answer, and no interim response comes before."""
    bench.app.let.set()
    bench.app.parts = [b"one", b"two"]
    request = b"POST / HTTP/1.0\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    connection, wire = begin(bench, request)
    await bench.settle()
    connection.data_received(b"{}")
    await bench.settle()
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"onetwo"
    assert wire.closed


async def test_head_has_the_headers_of_an_answer_and_no_body(bench: Bench) -> None:
    """And the connection can be used again."""
    bench.app.let.set()
    bench.app.headers = {b"content-length": b"6"}
    connection, wire = begin(bench, REQUEST.replace(b"GET", b"HEAD"))
    await bench.settle()
    assert wire.written.endswith(b"content-length: 6\r\n\r\n")
    assert connection.state is State.IDLE


async def test_a_client_that_asks_first_is_told_to_continue(bench: Bench) -> None:
    """Once, and only where the body is wanted."""
    request = POST + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n"
    connection, wire = begin(bench, request)
    await bench.settle()
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"{")
    await bench.settle()
    connection.data_received(b"}")
    bench.app.let.set()
    await bench.settle()
    assert wire.written.count(b"100 Continue") == 1
    refusing = Bench(app=App(hasty=True))
    refusing.app.let.set()
    _, wire = begin(refusing, request)
    await refusing.settle()
    assert b"100 Continue" not in wire.written


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"http://other/v1?a=b", "/v1"), (b"//v1", "//v1"), (b"*", "*"), (b"/%2fa%20b", "//a b")],
)
async def test_every_form_of_a_target_is_a_path(bench: Bench, target: bytes, path: str) -> None:
    """RFC 9112 wants the absolute form to be understood."""
    begin(bench, b"OPTIONS %b HTTP/1.1\r\nhost: x\r\n\r\n" % target)
    await bench.settle()
    assert bench.app.asked[0]["path"] == path


async def test_an_upgrade_without_a_body_is_answered_as_if_it_had_not_asked(bench: Bench) -> None:
    """And ends the connection, because what follows may be of another protocol."""
    bench.app.let.set()
    upgrade = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    _, wire = begin(bench, upgrade + b"\x81\x85")
    await bench.settle()
    assert wire.written.startswith(b"HTTP/1.1 200 OK")
    assert wire.finished or wire.closed


@pytest.mark.parametrize(
    ("headers", "parts"),
    [
        ({b"content-length": b"3"}, [b"four"]),
        ({b"content-length": b"9"}, [b"four"]),
        ({b"x": b"a\r\nb: c"}, [b""]),
    ],
)
async def test_a_faulty_answer_ends_its_connection_alone(
    bench: Bench, headers: dict[bytes, bytes], parts: list[bytes]
) -> None:
    """What was not begun gets an error object."""
    bench.app.let.set()
    bench.app.headers, bench.app.parts = headers, parts
    _, wire = begin(bench)
    await bench.settle()
    assert wire.closed
    if b"x" in headers:
        assert wire.error()["code"] == "internal"


# room


async def test_a_new_connection_displaces_the_one_that_waited_longest(clock: Clock) -> None:
    """Never one with a request under way; only when all have one it is refused."""
    del clock
    bench = Bench(Limits(connections=3, per_address=3))
    working, _ = begin(bench)
    (_, first), (_, second) = bench.connect(), bench.connect()
    _, third = bench.connect()
    assert (first.closed, second.closed, third.closed) == (True, False, False)
    assert bench.refusals.totals == {Reason.DISPLACED: 1}
    assert bench.admission.count == 3
    assert working.state is State.ANSWERING


async def test_where_all_have_requests_under_way_the_new_one_is_refused(clock: Clock) -> None:
    """With an error object, and when to try again."""
    bench = Bench(Limits(connections=2, per_address=2))
    begin(bench)
    busy, _ = begin(bench)
    _, refused = bench.connect()
    assert refused.error()["code"] == "address"
    _, refused = bench.connect(Wire("192.0.2.2"))
    assert refused.error()["code"] == "connections"
    assert b"retry-after: 1\r\n" in refused.written
    assert refused.closed
    assert bench.refusals.totals == {Reason.ADDRESS: 1, Reason.CONNECTIONS: 1}
    busy.connection_lost(None)
    _, admitted = bench.connect(Wire("192.0.2.2"))
    assert not admitted.closed
    clock.turn(LIMITS.flush_s)
    assert refused.aborted


PROBE = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(("host", "reason"), [("192.0.2.1", "address"), ("::1", "connections")])
async def test_where_all_places_are_taken_a_probe_is_answered_out_of_the_reserve(
    clock: Clock, host: str, reason: str
) -> None:
    """From the busy address, too; any other request is refused there, and so is a second one."""
    del clock
    bench = Bench(Limits(connections=2, per_address=2, reserved=2))
    begin(bench)
    begin(bench)
    other, refused = bench.connect(Wire(host))
    assert refused.written == b""
    other.data_received(REQUEST)
    assert refused.error()["code"] == reason
    bench.app.let.set()
    probing, probe = bench.connect(Wire(host))
    probing.data_received(2 * PROBE)
    await bench.settle()
    assert probe.written.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close\r\n" in probe.written
    assert bench.app.asked[-1]["path"] == "/healthz"


async def test_silent_connections_do_not_hold_the_reserve(clock: Clock) -> None:
    """Nor do those of the peer that has most of it keep others out."""
    del clock
    bench = Bench(Limits(connections=1, per_address=1, reserved=2))
    begin(bench)
    silent = [bench.connect()[1] for _ in range(5)]
    assert [each.closed for each in silent] == [True, True, True, False, False]
    probing, probe = bench.connect(Wire("2001:db8::1"))
    bench.app.let.set()
    bench.connect()
    probing.data_received(PROBE)
    await bench.settle()
    assert probe.written.startswith(b"HTTP/1.1 200 ")
    for connection in bench.admission.peers():
        assert isinstance(connection, Connection)
        connection.connection_lost(None)
    assert bench.admission.count == 0


async def test_who_leaves_an_answer_unread_makes_room(clock: Clock) -> None:
    """The one that has stopped reading longest; not one that has just stopped, or reads again."""
    bench = Bench(Limits(connections=3, per_address=3))
    (first, one), (second, two), (third, three) = (begin(bench) for _ in range(3))
    for each in (second, first, third):
        each.pause_writing()
        clock.turn(LIMITS.stall_s / 4)
    _, refused = bench.connect()
    assert refused.error()["code"] == "address"
    clock.turn(LIMITS.stall_s)
    second.resume_writing()
    for wire in (one, two, three):
        wire.unread = 1
    bench.connect()
    assert (one.aborted, two.aborted, three.aborted) == (True, False, False)
    first.connection_lost(None)
    assert bench.admission.count == 3


async def test_pipelining_does_not_hide_an_unread_answer(clock: Clock) -> None:
    """The next request begins, and its connection may still be displaced; so when it is closed."""
    bench = Bench(Limits(connections=2, per_address=2))
    bench.app.parts = [b"answer"]
    pipelined, one = begin(bench, 2 * REQUEST)
    last, two = begin(bench, REQUEST.replace(b"host", b"connection: close\r\nhost"))
    one.unread = two.unread = 1
    bench.app.let.set()
    await bench.settle()
    pipelined.pause_writing()
    clock.turn(LIMITS.stall_s)
    pipelined.data_received(2 * REQUEST)
    await bench.settle()
    assert pipelined.state is State.ANSWERING
    assert last.state is State.CLOSING
    for _ in range(2):
        assert bench.connect()[1].written == b""
    assert (one.aborted, two.aborted) == (True, True)
    assert bench.refusals.totals == {Reason.DISPLACED: 2}


async def test_one_address_cannot_take_the_room_of_others(clock: Clock) -> None:
    """It displaces its own; where the room is out, the most crowded address makes some."""
    del clock
    bench = Bench(Limits(connections=6, per_address=4))
    crowd = [bench.connect(Wire("192.0.2.1"))[1] for _ in range(6)]
    assert [each.closed for each in crowd] == [True, True, False, False, False, False]
    others = [bench.connect(Wire(f"2001:db8:{n}::1"))[1] for n in range(3)]
    assert [each.closed for each in crowd] == [True, True, True, False, False, False]
    assert not any(each.closed for each in others)


async def test_a_proxy_may_have_as_many_as_there_are(clock: Clock) -> None:
    """Many clients come through it."""
    del clock
    bench = Bench(Limits(connections=6, per_address=2))
    bench.admission = Admission(bench.limits, [ipaddress.ip_network("127.0.0.0/8")])
    proxied = [bench.connect(Wire("127.0.0.1"))[1] for _ in range(6)]
    assert not any(each.closed for each in proxied)


async def test_a_displaced_client_that_reads_nothing_is_aborted(clock: Clock) -> None:
    """What it left unread would hold the connection."""
    bench = Bench(dataclasses.replace(LIMITS, connections=1, per_address=1))
    bench.app.let.set()
    connection, wire = bench.connect(Wire(unread=1))
    connection.data_received(REQUEST)
    await bench.settle()
    bench.connect()
    assert wire.aborted
    del clock


async def test_a_server_that_stops_ends_each_connection_behind_its_answer(bench: Bench) -> None:
    """At once where there is none under way."""
    idle, quiet = bench.connect()
    busy, wire = begin(bench)
    await bench.settle()
    for each in (idle, busy):
        each.leave()
    assert (quiet.closed, wire.closed) == (True, False)
    bench.app.let.set()
    await bench.settle()
    assert b"connection: close\r\n" in wire.written
    assert wire.closed


def test_every_state_can_be_reached_and_left() -> None:
    """None is a trap, and all end."""
    reached = {State.HEAD, *(state for states in MOVES.values() for state in states)}
    assert reached == set(State) == set(MOVES)
    assert all(State.CLOSED in MOVES[state] for state in set(State) - {State.CLOSED})
    assert MOVES[State.CLOSED] == frozenset()


async def test_what_waits_of_a_body_is_bounded(bench: Bench) -> None:
    """Until the application takes it, no more is read."""
    length = 4 * LIMITS.body_buffer
    connection, wire = begin(bench, POST + b"content-length: %d\r\n\r\n" % length)
    connection.data_received(b"a" * (LIMITS.body_buffer + 1))
    assert not wire.is_reading()
    await bench.settle()
    assert wire.is_reading()
