"""A shim with a tiny server behind it, for tests: started, read, killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from engine.node.server_process import VARIABLE
from engine.process import address
from engine.process.address import Address

TINY = [sys.executable, "-m", "tests.engine.node.tiny_server", "{port}"]
LINES = 2000


class Shim:
    """A shim that runs; what it says is read line by line."""

    def __init__(self, published: Path, process: subprocess.Popen[bytes]) -> None:
        self.published = published
        self.process = process

    def said(self, word: str) -> Any:
        """The next line that has this word."""
        assert self.process.stdout is not None
        for _, line in zip(range(LINES), self.process.stdout, strict=False):
            if word in (told := json.loads(line)):
                return told
        raise AssertionError(f"it never said {word!r}")

    def ready(self) -> Address:
        """Wait for readiness; where the server listens."""
        assert self.said("ready")["ready"] is True
        found = address.read(self.published)
        assert found is not None
        return found

    def server(self) -> psutil.Process:
        """The process of the server itself."""
        return server_of(self.process.pid)


def server_of(shim: int | None) -> psutil.Process:
    """The server of a shim, by the shim's process id; its other child is its guard."""
    server, _guard = sorted(psutil.Process(shim).children(), key=lambda child: child.pid)
    return server


@contextmanager
def shim(
    work: Path, command: list[str] | None = None, *, instance: str = "tiny:1", **orders: Any
) -> Iterator[Shim]:
    """A shim with a server; both are gone afterwards."""
    published = work / f"server-{instance}.json"
    asked = {
        "command": command or TINY,
        "health_path": "/health",
        "address": str(published),
        **orders,
    }
    with (work / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.node.server_shim", "--instance", instance],
            env=os.environ | {VARIABLE: json.dumps(asked)},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield Shim(published, process)
    finally:
        process.kill()
        with process:
            process.wait()
