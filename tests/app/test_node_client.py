"""What a terminal learns of a node that cannot write down what happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app import errors, node_client, terminal
from storage.home import paths as homes
from storage.home.paths import Home

FULL = "The disk is full: nothing was written."


class _Readyz(BaseHTTPRequestHandler):
    """The gateway's word on its recorder."""

    said: object = None

    def do_GET(self) -> None:
        """Whatever is asked."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.said).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home whose gateway says what the test has it say; no node is behind it."""
    server = HTTPServer(("127.0.0.1", 0), _Readyz)
    monkeypatch.setenv("PADDOCK_GATEWAY__PORT", str(server.server_port))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    home = homes.find(tmp_path)
    homes.make(home)
    try:
        yield home
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ({"recorder": {"trouble": FULL}}, FULL),
        ({"recorder": {"trouble": None}}, None),
        ({"status": "something else"}, None),
        ([], None),
    ],
)
async def test_a_recorder_in_trouble_is_heard(
    gateway: Home, monkeypatch: pytest.MonkeyPatch, said: object, trouble: str | None
) -> None:
    """From the gateway, which notices first; whoever else listens on its port says nothing."""
    monkeypatch.setattr(_Readyz, "said", said)
    assert await node_client.trouble(gateway) == trouble


async def test_nobody_there_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the node is down is told elsewhere."""
    monkeypatch.setenv("PADDOCK_GATEWAY__PORT", "9")
    assert await node_client.trouble(homes.find(tmp_path)) is None


def test_an_argument_that_is_no_text_is_told_in_a_sentence() -> None:
    """A byte that is not UTF-8 arrives as half a surrogate pair, which no file can hold."""

    async def look() -> bytes:
        return "requests \udc9b".encode()

    with pytest.raises(errors.BadWord, match="not UTF-8"):
        terminal.run(look())
