"""Peers that are no SDK, and peers that mean harm, at a real gateway with few open files."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

FILES = 256
PEERS = 300
PAGE = "https://chat.example.org"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway without any worker: what is asked of it waits."""
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("hostile") / "home"))
    with gateway_processes.running(made):
        made.start_gateway(
            files=FILES,
            bodies_limit_bytes="2_000_000",
            allowed_origins=json.dumps([PAGE]),
        )
        yield made


@contextlib.contextmanager
def connected(stack: Stack, *first: bytes) -> Iterator[list[socket.socket]]:
    """Connections, each with the bytes that it sends first."""
    with contextlib.ExitStack() as open_ones:
        made = []
        for data in first:
            one = socket.create_connection(("127.0.0.1", stack.port), timeout=120)
            open_ones.enter_context(one)
            one.sendall(data)
            made.append(one)
        yield made


def post(stack: Stack, body: bytes, *headers: str, key: str = "client", length: int = 0) -> bytes:
    """A completion as it is sent, with a body that may be shorter than it says."""
    lines = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {stack.secrets[key]}",
        f"content-length: {length or len(body)}",
        *headers,
    )
    return "\r\n".join((*lines, "\r\n")).encode() + body


def until(one: socket.socket, end: bytes) -> bytes:
    """What is received up to an end; all, if the connection ends first."""
    data = b""
    while end not in data and (more := one.recv(65_536)):
        data += more
    return data


def metric(stack: Stack, name: str) -> float:
    """A value of the exposition."""
    with stack.http("operator") as http:
        text = http.get("/metrics").text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_peers_that_hold_connections_keep_nobody_out(stack: Stack) -> None:
    """Bytes behind an answer, a body behind a 401, heads that do not end: more than there is room.

    Each waits in its own way, and makes room for who has something to ask.
    """
    alive = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    refused = post(stack, b"{", key="wrong", length=1000)
    chunked = b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    kinds = (
        (alive, b"\r\n"),
        (refused, b" "),
        (chunked, b"1"),
        (b"GET /healthz HT", b"T"),
        (b"", b"G"),
    )
    everyone = [kinds[number % len(kinds)] for number in range(PEERS)]
    with connected(stack, *(first for first, _ in everyone)) as peers:
        for (first, then), peer in zip(everyone, peers, strict=True):
            with contextlib.suppress(OSError):  # some had to go
                if first is alive:
                    until(peer, b"}")
                peer.sendall(then)
        for _ in range(8):
            with stack.http(None) as http:
                assert http.get("/healthz").status_code == 200
        assert metric(stack, "paddock_connections") <= metric(stack, "paddock_connections_limit")
    assert metric(stack, "paddock_connections_limit") == FILES / 2
    assert metric(stack, 'paddock_connections_refused_total{reason="displaced"}') > PEERS / 3
    log = stack.home.log("gateway").read_text()
    assert log.count('"reason": "displaced"') == 1


def test_probes_and_operators_get_in_where_all_places_are_busy(stack: Stack) -> None:
    """As behind a proxy whose requests all wait: the others are refused until one has ended."""
    busy = [post(stack, b'{"model": "raw", "prompt": "a"}')] * (FILES // 2)
    with connected(stack, *busy):
        clients = [stack.http("client") for _ in range(8)]
        while clients[-1].get("/v1/models").status_code != 503:
            continue
        refused = clients[0].get("/v1/models").json()["error"]
        assert refused["code"] == "connections"
        for path, key in (("/healthz", None), ("/metrics", "viewer"), ("/v1/models", "operator")):
            with stack.http(key) as http:
                assert http.get(path).status_code == 200, path
    while clients[0].get("/v1/models").status_code != 200:  # until it has seen that they have gone
        continue
    for each in clients:
        each.close()


def test_an_answer_to_an_incomplete_body_ends_its_connection(stack: Stack) -> None:
    """Whatever comes behind it: the peer reads the answer, then the end."""
    with connected(stack, post(stack, b"{", key="wrong", length=1000)) as (one,):
        head, _, body = until(one, b"never").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "invalid_api_key"


def test_strangers_do_not_fill_the_log(stack: Stack) -> None:
    """A line for each reason, however often it occurs, and none has what they sent."""
    close, word = b"host: x\r\nconnection: close\r\n\r\n", b"z" * 2_000
    kinds = (
        b"GET /" + word + b" HTTP/1.1\r\n" + close,
        b"GET /%0a%1b[2J" + word + b" HTTP/1.1\r\n" + close,
        b"GET /v1/models HTTP/1.1\r\nauthorization: Bearer " + word + b"\r\n" + close,
        b"POST /v1/completions HTTP/1.1\r\ncontent-length: -2\r\n" + close,
        b"\x16\x03\x01" + word,
        b"GET / HTTP/1.1\r\nx: " + word * 40 + b"\r\n\r\n",
    )
    log = stack.home.log("gateway")
    before = log.stat().st_size
    for _ in range(30):
        for data in kinds:
            with contextlib.suppress(ConnectionError), connected(stack, data) as (one,):
                until(one, b"never")
    written = log.read_text()[before:]
    assert len(written.splitlines()) <= 2 * len(kinds)
    assert "zzz" not in written


def test_a_stream_that_waits_sends_comments(stack: Stack) -> None:
    """A proxy that gives up after some seconds does not; an HTTP/1.0 client gets no chunks."""
    asked = json.dumps({"model": "raw", "prompt": "a", "stream": True}).encode()
    modern = post(stack, asked)
    old = modern.replace(b"HTTP/1.1", b"HTTP/1.0")
    with connected(stack, modern, old) as (new, ancient):
        streamed = until(new, b": waiting\n\n")
        closed = until(ancient, b": waiting\n\n")
    head, _, body = streamed.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in head
    assert body == b"b\r\n: waiting\n\n\r\n"
    head, _, body = closed.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b": waiting\n\n"


def test_a_refusal_that_is_known_early_is_no_stream(stack: Stack) -> None:
    """It has its status, and what says that it may be tried again."""
    with stack.http("operator", **{"x-paddock-release": stack.releases["hasty"].name}) as http:
        refused = http.post("/v1/completions", json={"model": "raw", "prompt": "a", "stream": True})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"]
    assert "retry-after" in refused.headers


def test_a_compressed_body_is_told_so(stack: Stack) -> None:
    """Not that its JSON is malformed."""
    body = gzip.compress(json.dumps({"model": "raw", "prompt": "a"}).encode())
    with stack.http() as http:
        refused = http.post("/v1/completions", content=body, headers={"content-encoding": "gzip"})
    assert refused.status_code == 415
    assert refused.json()["error"]["code"] == "unsupported_encoding"


def test_the_bodies_of_a_key_are_bounded_together(stack: Stack) -> None:
    """Half bodies are refused beyond what one key may hold; other keys are answered."""
    half = post(stack, b" " * 900_000, length=1_900_000)
    with connected(stack, half, half, half) as peers:
        (refused,), _, _ = select.select(peers, [], [], 20)
        head, _, body = until(refused, b"never").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1" in head
        assert json.loads(body)["error"]["code"] == "bodies_in_flight"
        with stack.http("other") as http:
            assert http.post("/v1/completions", content=b"{").status_code == 400
        for one in peers:
            if one is not refused:
                one.settimeout(0)
                with pytest.raises(BlockingIOError):
                    one.recv(1)


@pytest.mark.parametrize(
    ("origin", "allowed"), [(PAGE, PAGE), ("https://elsewhere.example.org", None)]
)
def test_web_pages_may_ask_where_they_are_named(
    stack: Stack, origin: str, allowed: str | None
) -> None:
    """Before a request, in its answer, and in an error that it gets."""
    asks: dict[str, Any] = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-os",
    }
    with stack.http(None, origin=origin) as http:
        preflight = http.options("/v1/chat/completions", headers=asks)
        refused = http.post("/v1/chat/completions", json={})
    assert preflight.status_code == (200 if allowed else 400)
    assert refused.status_code == 401
    for each in (preflight, refused):
        assert each.headers.get("access-control-allow-origin") == allowed
    if allowed:
        assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
        assert "retry-after" in refused.headers["access-control-expose-headers"]


def test_a_faulty_size_of_a_body_is_refused(stack: Stack) -> None:
    """Before anything of it is kept."""
    with connected(stack, post(stack, b"", length=10**9)) as (one,):
        assert until(one, b"\r\n").startswith(b"HTTP/1.1 413 ")
