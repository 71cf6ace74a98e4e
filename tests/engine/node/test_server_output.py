"""What a supervised server prints reaches the log, and never faster than it can be rotated."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from engine.node import server_output
from engine.node.server_output import Output


def test_a_server_that_prints_without_end_waits(tmp_path: Path) -> None:
    """Nothing is lost, and the last words are there; each further megabyte takes a second."""
    now, printed = [0.0], b"x" * (4 * server_output.RATE) + b"the last words"

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def run() -> None:
        with server:
            server.write(printed)

    with (tmp_path / "log").open("wb") as log:
        output = Output(log.fileno(), monotonic_s=lambda: now[0], sleep=sleep)
        server = os.fdopen(os.dup(output.pipe), "wb")
        output.close()
        writer = threading.Thread(target=run)
        writer.start()
        writer.join()
        output.end()
    assert (tmp_path / "log").read_bytes() == printed
    assert now == [4.0]
