"""Measures what surrounds serving: start-up, the first paint of the screen, the idle node.

Each figure is printed with its budget. Imported by the bench only.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from tests import home_fixtures
from tests.bench import contestants, screen_bytes

STARTS: Final = 3
IDLE_S: Final = 20.0
BUDGETS: Final = {
    "start to readyz ms": 3000,
    "tui first paint ms": 700,
    "idle share of a core": 0.02,
}
PAINT_S: Final = 20.0


async def starts_and_idles(shape: contestants.Shape, work: Path) -> dict[str, float]:
    """Node start to `readyz` and first paint (medians), and the CPU use of the idle node."""
    starts, paints, figures, idle = [], [], [], 0.0
    for number in range(STARTS):
        place = work / f"start-{number}"
        place.mkdir()
        async with contestants.paddock(shape, place) as server:
            starts.append(server.start_us / 1000)
            paint, figure = first_paint_ms(place / "home")
            paints.append(paint)
            figures.append(figure)
            if number == STARTS - 1:
                idle = await idle_share(server.pid)
    return {
        "start to readyz ms": statistics.median(starts),
        "tui first paint ms": statistics.median(paints),
        "tui first figures ms": statistics.median(figures),
        "idle share of a core": idle,
    }


async def idle_share(pid: int) -> float:
    """CPU time of the node and its processes over wall time, without requests."""

    def used() -> float:
        node = psutil.Process(pid)
        each = (part.cpu_times() for part in [node, *node.children(recursive=True)])
        return sum(times.user + times.system for times in each)

    await asyncio.sleep(2)
    before, began = used(), time.monotonic()
    await asyncio.sleep(IDLE_S)
    return (used() - before) / (time.monotonic() - began)


def first_paint_ms(home: Path) -> tuple[float, float]:
    """From the start of `paddock` to its first frame and to its first figures, at 80 by 24."""
    terminal = screen_bytes.start(home, 80, 24, [str(Path(sys.executable).parent / "paddock")])
    took = []
    try:
        for shown in (screen_bytes.PAINTED, screen_bytes.FIGURES):
            is_there = shown in terminal.written() or terminal.read(PAINT_S, shown)
            now = (time.monotonic() - terminal.started) * 1000
            took.append(now if is_there else float("nan"))
    finally:
        terminal.close()
    return took[0], took[1]


def measure(shape: contestants.Shape, work: Path) -> dict[str, float]:
    """Measure everything and print it with the budgets; starts use the shipped model."""
    small = replace(shape, model=home_fixtures.WEIGHTS)
    measured = asyncio.run(starts_and_idles(small, work))
    for name, value in measured.items():
        budget = BUDGETS.get(name)
        said = "" if budget is None else f"   budget {budget:g}   "
        said += "" if budget is None else "met" if value < budget else "missed"
        print(f"{name:40} {value:8.3f}{said}")
    return measured
