"""Other people's servers for tests: llama-server and llama-cpp-python's example server.

They are used where `make bench` or `make soak` has built them; `make soak` builds what is missing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests import home_fixtures
from tests.bench import peers

KINDS: Final = ("llama-server", "example-server")
KEY: Final = "sk-of-the-peer"
START_TRIES: Final = 2000


@dataclass(frozen=True)
class Peer:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Its API's base."""
        return f"http://127.0.0.1:{self.port}/v1"


def built() -> peers.Built:
    """The peers; a test that needs them is skipped where they are not built."""
    found = peers.found()
    if found is None and os.environ.get("PADDOCK_BUILD_PEERS"):
        found = peers.build()
    if found is None:
        pytest.skip("the peers are not built: `make bench` builds them")
    return found


def command(kind: str, work: Path, port: str) -> tuple[list[str], dict[str, str]]:
    """How a server is started on the shipped model, and its environment."""
    at = built()
    if kind == "llama-server":
        words = [
            *(str(at.llama_server), "--model", str(home_fixtures.WEIGHTS), "--host", "127.0.0.1"),
            *("--port", port, "--parallel", "8", "--ctx-size", "4096", "--threads", "1"),
            *("--no-webui", "--metrics"),
        ]
        return words, {}
    settings = {
        "server": {"host": "127.0.0.1", "port": int(port)},
        "model": {
            "path": str(home_fixtures.WEIGHTS), "alias": "ops", "n_ctx": 4096, "n_seq_max": 8,
            "threads": 1, "threads_batch": 1, "kv_unified": True,
        },
    }  # fmt: skip
    listed = work / "example.json"
    listed.write_text(json.dumps(settings))
    libraries = {"LLAMA_CPP_LIB_PATH": str(at.libraries), "MTMD_CPP_LIB": str(at.libraries)}
    return [sys.executable, str(at.example_server), "-C", str(listed)], libraries


def template(kind: str, work: Path) -> tuple[list[str], dict[str, str], str]:
    """How a server is started by a release: its command, its environment, its health path."""
    words, environment = command(kind, work, "1")
    if kind == "llama-server":
        words[words.index("--model") + 1] = "{weights}"
        words[words.index("--port") + 1] = "{port}"
        return words, environment, "/health"
    listed, live = work / "example.json", work / "live.json"
    listed.write_text(listed.read_text().replace('"port": 1', '"port": PORT'))
    line = f"sed s/PORT/{{port}}/ {listed} > {live} && exec {' '.join(words[:-1])} {live}"
    return ["sh", "-c", line], environment, "/healthz"


@contextmanager
def running(kind: str, work: Path, port: int) -> Iterator[Peer]:
    """A server that is ready; it is gone afterwards."""
    words, environment = command(kind, work, str(port))
    if kind == "llama-server":
        words += ["--api-key", KEY]
    with (work / f"{kind}.log").open("ab") as log:
        process = subprocess.Popen(
            words, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _until_ready(process, port, work / f"{kind}.log")
        yield Peer(port, process)
    finally:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[bytes]) -> None:
    """As an operator does."""
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def _until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=60) as client:
        for _ in range(START_TRIES):
            assert process.poll() is None, log.read_text()
            try:
                health = client.get(f"http://127.0.0.1:{port}/v1/models")
            except httpx.TransportError:
                continue
            if health.status_code < 500:  # it may ask for its key; while it loads it says 503
                return
    raise AssertionError(log.read_text())
