"""What a terminal learns by asking: of the node, and of a gateway that answers, fails or hangs."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from app import liveness
from app.liveness import Readiness, Unable
from app.snapshot import Node
from storage.home import paths as homes
from storage.home.config import Gateway
from tests.app.pilot import FakeNode

FULL = "The disk is full: nothing was written."


class _Readyz(BaseHTTPRequestHandler):
    """A gateway of which only /readyz is asked."""

    said: object = None

    def do_GET(self) -> None:
        """The document that the test has it send."""
        self.send_response(503)
        self.end_headers()
        self.wfile.write(json.dumps(self.said).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def gateway() -> Iterator[str]:
    """Its address."""
    server = HTTPServer(("127.0.0.1", 0), _Readyz)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def asked(url: str, answer_s: float = 5.0) -> Readiness:
    """What is learned there."""
    async with httpx.AsyncClient(timeout=answer_s, trust_env=False) as http:
        return await liveness.ask_gateway(http, url, answer_s)


REASON = {"service": "support", "release": "r2", "reason": "ops-1.0.0 is starting"}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"reasons": [], "recorder": {"trouble": FULL}}, Readiness(unwritten=FULL)),
        ({"reasons": [{"reason": "no service"}], "recorder": {"trouble": None}}, Readiness()),
        (
            {"reasons": [REASON], "recorder": {"trouble": None}},
            Readiness(unable=(Unable(**REASON),)),
        ),
        ({"status": "other"}, Readiness(silence="it answers 503 Service Unavailable")),
        ([], Readiness(silence="it answers 503 Service Unavailable")),
    ],
)
async def test_readyz_says_what_cannot_answer_and_what_is_not_written(
    gateway: str, monkeypatch: pytest.MonkeyPatch, said: object, found: Readiness
) -> None:
    """Another program on its port is no gateway."""
    monkeypatch.setattr(_Readyz, "said", said)
    assert await asked(gateway) == found


async def test_a_gateway_that_accepts_and_says_nothing_is_silent() -> None:
    """As one that is stopped: the kernel accepts for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert await asked(url, 0.05) == Readiness(silence="it gave no answer for 0.05 s")
    assert await asked(url) == Readiness(silence="it accepts no connection")


async def test_the_gateway_is_asked_where_the_node_says_that_it_listens(
    tmp_path: Path, node: FakeNode
) -> None:
    """Whatever config.toml or this terminal's environment say by now."""
    node.port = 4711
    home = homes.find(tmp_path)
    asking = liveness.Liveness(home, "sara")
    assert await asking.look(Gateway())
    assert asking.answers.url == "http://127.0.0.1:4711"
    assert node.gateways[-1] == "http://127.0.0.1:4711"
    assert asking.answers.node is Node.UP
    assert not await asking.look(Gateway())
    node.down = True
    assert await asking.look(Gateway())
    assert asking.answers.gateway == Readiness()
    await asking.close()
