"""What is felt around serving: the start, the first picture, what an idle node costs.

Each figure stands beside its budget. Imported by the bench only.
"""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path
from typing import Final

import psutil

from tests import boxes
from tests.bench import contestants, peers

STARTS: Final = 3
IDLE_S: Final = 20.0
BUDGETS: Final = {
    "start to readyz ms": 3000,
    "tui first paint ms": 700,
    "idle share of a core": 0.02,
}
PAINT_S: Final = 20.0
HOUSE_LINE: Final = b"as of"  # the end of the screen's first row: when it is there, the rest is


async def starts_and_idles(shape: contestants.Shape, work: Path) -> dict[str, float]:
    """Node start to `readyz` (median), first paint beside it, and what the idle node takes."""
    starts, paints, idle = [], [], 0.0
    for number in range(STARTS):
        place = work / f"start-{number}"
        place.mkdir()
        async with contestants.paddock(shape, place) as server:
            starts.append(server.start_us / 1000)
            paints.append(await asyncio.to_thread(first_paint_ms, place / "home"))
            if number == STARTS - 1:
                idle = await idle_share(server.pid)
    return {
        "start to readyz ms": statistics.median(starts),
        "tui first paint ms": statistics.median(paints),
        "idle share of a core": idle,
    }


async def idle_share(pid: int) -> float:
    """CPU time of the node and all it started, over wall time, with nobody asking anything."""

    def used() -> float:
        node = psutil.Process(pid)
        each = (part.cpu_times() for part in [node, *node.children(recursive=True)])
        return sum(times.user + times.system for times in each)

    await asyncio.sleep(2)
    before, began = used(), time.monotonic()
    await asyncio.sleep(IDLE_S)
    return (used() - before) / (time.monotonic() - began)


def first_paint_ms(home: Path) -> float:
    """From the start of `paddock` to its house line, in a terminal of 80 by 24."""
    command = [sys.executable, "-m", "app.cli"]
    paddock = Path(sys.executable).parent / "paddock"
    if paddock.exists():
        command = [str(paddock)]
    env = dict(os.environ) | {"PADDOCK_HOME": str(home), "TERM": "xterm-256color"}
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=env, cwd=peers.ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen, took = b"", float("nan")
    try:
        while time.monotonic() - began < PAINT_S:
            if select.select([ours], [], [], 0.5)[0]:
                seen += os.read(ours, 65536)
                if HOUSE_LINE in seen:
                    took = (time.monotonic() - began) * 1000
                    break
    except OSError:  # the terminal closed before anything was drawn
        pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(ours)
    return took


def measure(shape: contestants.Shape, work: Path) -> dict[str, float]:
    """All of it, printed beside the budgets; the starts are those of the shipped model."""
    small = replace(shape, model=boxes.WEIGHTS)
    felt = asyncio.run(starts_and_idles(small, work))
    for name, value in felt.items():
        said = "met" if value < BUDGETS[name] else "missed"
        print(f"{name:40} {value:8.3f}   budget {BUDGETS[name]:g}   {said}")
    return felt
