"""What the screen looks like, cell for cell: reviewed images.

`pytest tests/app/test_snapshots.py --snapshot-update` draws them anew; look at each before it is
committed. The boxes, the clock, the host and the person are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from app.tui import Tui
from app.widgets.table import Table
from storage.home.paths import Home
from tests.app import pilot, populated_homes
from tests.app.pilot import Clock, FakeNode, RunningScreen

pytestmark = pytest.mark.usefixtures("node")

Compare = Callable[..., bool]
SIZES = pytest.mark.parametrize(
    "size", [(80, 24), (120, 40), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}"
)


def compared(
    compare: Compare,
    app: Tui,
    size: tuple[int, int],
    *keys: str,
    then: Callable[[RunningScreen], Awaitable[None]] | None = None,
) -> bool:
    """Whether the screen after some keys looks as it did when it was reviewed."""

    async def play(pilot: Pilot[Any]) -> None:
        screen = RunningScreen(app, pilot)
        await screen.until(lambda: screen.shown() and bool(app.table))
        for key in keys:
            await screen.go(key)
        if then is not None:
            await then(screen)
        await screen.settle()

    return compare(app, terminal_size=size, run_before=play)


@SIZES
def test_the_pulse_of_a_busy_box(
    busy_home: Home, snap_compare: Compare, size: tuple[int, int]
) -> None:
    """A GPU, a queue, an arm that fails and refuses."""
    assert compared(snap_compare, pilot.program(busy_home), size)


@SIZES
def test_the_traffic_of_a_busy_box(
    busy_home: Home, snap_compare: Compare, size: tuple[int, int]
) -> None:
    """Set beside actual, the splits before, and why nothing can be changed."""
    assert compared(snap_compare, pilot.program(busy_home), size, "t")


@SIZES
def test_the_requests_of_a_busy_box(
    busy_home: Home, snap_compare: Compare, size: tuple[int, int]
) -> None:
    """One refused, one failed, one synthetic, one that waited long."""
    assert compared(snap_compare, pilot.program(busy_home), size, "l")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_a_crowded_box(crowded_home: Home, snap_compare: Compare, size: tuple[int, int]) -> None:
    """More than there is room for, and hostile names."""
    assert compared(snap_compare, pilot.program(crowded_home), size)


def test_backends_that_are_down(ailing_home: Home, snap_compare: Compare) -> None:
    """Each kind has its row; those that are down come first, with the reason."""
    assert compared(snap_compare, pilot.program(ailing_home), (80, 24))


def test_a_request_in_full(busy_home: Home, snap_compare: Compare) -> None:
    """With its text and what was thought of it."""

    async def second(screen: RunningScreen) -> None:
        list_ = screen.place.query_one(Table)
        await screen.until(lambda: len(list_.keys) > 1)
        await screen.press("down")
        await screen.until(lambda: list_.index == 1)
        await screen.go("enter")

    assert compared(snap_compare, pilot.program(busy_home), (80, 24), "l", then=second)


def test_the_help_of_the_traffic(quiet_home: Home, snap_compare: Compare) -> None:
    """Keys, their commands, and what figures mean."""
    assert compared(snap_compare, pilot.program(quiet_home), (80, 24), "t", "question_mark")


def test_a_dead_node(busy_home: Home, node: FakeNode, snap_compare: Compare) -> None:
    """The store is shown, and nothing pretends to be now."""
    node.down = True
    app = pilot.program(
        busy_home, clock=Clock(populated_homes.NOW_US + 90 * populated_homes.SECOND_US)
    )
    assert compared(snap_compare, app, (80, 24))


def test_a_question_on_an_armed_screen(busy_home: Home, snap_compare: Compare) -> None:
    """The line is red, the effect is shown in full."""

    async def ask(screen: RunningScreen) -> None:
        await screen.press("colon")
        await screen.type("rw")
        await screen.press("enter", "u")

    assert compared(snap_compare, pilot.program(busy_home), (80, 24), "t", then=ask)


def test_a_quiet_box_on_a_light_terminal(quiet_home: Home, snap_compare: Compare) -> None:
    """No GPU, no worker, no requests."""
    assert compared(snap_compare, pilot.program(quiet_home, theme="ansi-light"), (80, 24))


def test_no_colour(busy_home: Home, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weight and reversal carry what colours did."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert compared(snap_compare, pilot.program(busy_home), (80, 24), "t")


def test_ascii(busy_home: Home, snap_compare: Compare) -> None:
    """For terminals that can show nothing else."""
    assert compared(snap_compare, pilot.program(busy_home, chart="ascii"), (80, 24))


def test_a_terminal_that_is_too_small(quiet_home: Home, snap_compare: Compare) -> None:
    """It says what it needs."""

    async def nothing(screen: RunningScreen) -> None:
        await screen.pilot.pause()

    assert compared(snap_compare, pilot.program(quiet_home), (60, 20), then=nothing)
