"""Keys that work everywhere, sizes, what is remembered between places, and how the screen ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.screens.place import Place
from app.tui import THEME, Tui
from app.widgets.header import HeaderRow
from storage.home.paths import Home
from tests.app import pilot, populated_homes
from tests.app.pilot import Clock, FakeNode

pytestmark = pytest.mark.usefixtures("node")


async def test_places_are_reached_by_letter_and_by_name(quiet_home: Home) -> None:
    """A letter, a name, the beginning of one; an unknown name is answered with the known ones."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        for keys, where in (("t", "traffic"), ("l", "requests"), ("o", "pulse")):
            await screen.go(*keys)
            assert screen.place.where == where
        for typed, where in (("traffic", "traffic"), ("req", "requests"), ("pulse", "pulse")):
            await screen.press("colon")
            await screen.type(typed)
            await screen.go("enter")
            assert screen.place.where == where
        await screen.press("colon")
        await screen.type("gpu[/foo]")
        await screen.press("enter")
        assert "There is no place “gpu[/foo]”; known: pulse, problems, traffic" in screen.said


async def test_an_unknown_theme_is_reported_and_the_default_is_used(
    quiet_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screen for an emergency does not refuse to start over its colours."""
    monkeypatch.setenv("TEXTUAL_THEME", "nonsense[/]")
    async with pilot.at(pilot.program(quiet_home)) as screen:
        assert screen.app.theme == THEME
        assert "There is no theme 'nonsense[/]'" in screen.said


async def test_esc_always_leads_back_and_minus_to_the_place_before(busy_home: Home) -> None:
    """Also from deep inside; on the pulse esc means nothing, and harms nothing."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.go("t")
        await screen.go("l")
        await screen.go("enter")
        await screen.press("question_mark")
        for where in ("request", "requests", "traffic", "pulse", "pulse"):
            await screen.press("escape")
            assert screen.place.where == where
        await screen.go("minus")
        assert screen.place.where == "traffic"
        await screen.go("minus")
        assert screen.place.where == "pulse"


async def test_coming_back_to_the_pulse_does_not_blank_it(busy_home: Home) -> None:
    """Until the next look the earlier figures stay; a blank row costs bytes and alarms."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        pulse = screen.text
        await screen.go("t")
        screen.app.key("o", None)
        screen.app.redraw()
        assert "reading" not in screen.text
        await screen.until(lambda: screen.text == pulse)


async def test_keys_that_come_before_their_place_wait_for_it(busy_home: Home) -> None:
    """Over a slow link several keys arrive at once; each counts in the place it was meant for."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        for key in ("l", "down", "t", "l", "question_mark", "escape", "escape"):
            screen.app.key(key, None)
        await screen.until(lambda: screen.place.where == "traffic" and screen.shown())


async def test_space_freezes_the_picture_and_never_the_recording(
    busy_home: Home, node: FakeNode
) -> None:
    """The header says since when and what is wrong meanwhile; another place is not frozen."""
    clock = Clock()
    async with pilot.at(pilot.program(busy_home, clock=clock)) as screen:
        await screen.press("space")
        assert "FROZEN 03:12:07Z" in screen.header
        below = screen.text.partition("\n")[2]
        clock.pass_s(60)
        node.down = True
        await screen.look()
        assert "NODE DOWN" in screen.header
        assert "FROZEN 03:12:07" in screen.header
        assert screen.text.partition("\n")[2] == below
        await screen.press("space")
        assert "NODE DOWN" in screen.header
        await screen.press("space")
        await screen.go("t")
        assert "FROZEN" not in screen.header


async def test_a_screen_that_is_frozen_at_once_holds_the_place_that_it_shows(
    busy_home: Home,
) -> None:
    """Space right after another place: not the snapshot of the place before, and not its time."""
    clock = Clock()
    async with pilot.at(pilot.program(busy_home, clock=clock)) as screen:
        clock.pass_s(3)
        screen.app.key("t", "t")
        await screen.until(lambda: screen.place.where == "traffic" and screen.place.ready)
        screen.app.key("space", " ")
        await screen.until(lambda: "FROZEN" in screen.header)
        assert "FROZEN 03:12:10" in screen.header
        assert "SERVICES" in screen.text
        await screen.press("space")
        await screen.until(lambda: "FROZEN" not in screen.header)


async def test_arming_reddens_the_line_for_a_quarter_of_an_hour(quiet_home: Home) -> None:
    """It runs out by itself, and :ro ends it at once."""
    clock = Clock()
    async with pilot.at(pilot.program(quiet_home, clock=clock)) as screen:
        grounds = []
        for typed in ("rw", "ro", "rw"):
            await screen.press("colon")
            await screen.type(typed)
            await screen.press("enter")
            strip = screen.place.query_one(HeaderRow).render_line(0)
            grounds.append({str(segment.style and segment.style.bgcolor) for segment in strip})
        assert grounds[0] == grounds[2] != grounds[1]
        assert len(grounds[0]) == 1
        assert "RW 15 min" in screen.header
        clock.pass_s(14 * 60)
        screen.app.redraw()
        await screen.pilot.pause()
        assert "RW 1 min" in screen.header
        clock.pass_s(61)
        screen.app.redraw()
        await screen.pilot.pause()
        assert " RO " in screen.header


async def test_a_dying_node_disarms(quiet_home: Home, node: FakeNode) -> None:
    """After it has come back, changes need :rw again."""
    clock = Clock()
    async with pilot.at(pilot.program(quiet_home, clock=clock)) as screen:
        await screen.press("colon")
        await screen.type("rw")
        await screen.press("enter")
        assert " RW " in screen.header
        node.down = True
        clock.pass_s(10)
        await screen.look()
        assert " RO " in screen.header


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """A box of this test's own."""
    return populated_homes.make(tmp_path / "home", populated_homes.quiet)


async def test_a_store_that_vanishes_leaves_what_the_node_runs_in_sight(
    own_home: Home, node: FakeNode
) -> None:
    """Row 1 says what is wrong; no figure of before stays, and all are back with the file."""
    node.processes = [
        {
            "name": name, "kind": name, "deployment": None, "pid": 7, "state": state,
            "reason": None, "restarts": 0, "silent": False,
        }
        for name, state in (("gateway", "ready"), ("control", "crashed"))
    ]  # fmt: skip
    async with pilot.at(pilot.program(own_home)) as screen:
        assert "TRAFFIC support" in screen.text
        away = own_home.root / "away.db"
        own_home.database.rename(away)
        await screen.look()
        assert "▲ store unreadable" in screen.header
        said = " ".join(screen.text.split())
        assert " is gone: nothing can be stored." in said
        assert "`paddock restore FILE`" in said
        assert "gateway ● ready" in screen.text
        assert "control ▲ crashed" in screen.text
        assert "TRAFFIC" not in screen.text
        away.rename(own_home.database)
        await screen.look()
        assert "TRAFFIC support" in screen.text


@pytest.mark.parametrize(("width", "height"), [(79, 24), (80, 21), (12, 2)])
async def test_a_terminal_that_is_too_small_says_so(
    quiet_home: Home, width: int, height: int
) -> None:
    """The header stays, and with room everything is back."""
    async with pilot.at(pilot.program(quiet_home), width, height) as screen:
        assert len(screen.text.split("\n")) == height
        assert "RO" in screen.header or width < 30
        if height > 4 and width > 30:
            assert f"this terminal has {width}×{height}" in screen.text
        await screen.pilot.resize_terminal(80, 24)
        await screen.until(lambda: "TRAFFIC support" in screen.text)
        await screen.pilot.resize_terminal(60, 20)
        await screen.until(lambda: "The screen needs 80×22" in screen.text)
        await screen.press("q")
        assert screen.app._exit


async def test_in_a_terminal_that_is_too_small_no_key_acts_but_quit(
    busy_home: Home, node: FakeNode
) -> None:
    """Neither the confirm that was open nor a new one; with room the question is still there."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.press("colon")
        await screen.type("rw")
        await screen.press("enter")
        await screen.go("t")
        await screen.press("u")
        assert "enter: do it" in screen.text or "reason" in screen.said
        await screen.pilot.resize_terminal(79, 20)
        await screen.until(lambda: "no other key acts" in screen.text)
        await screen.press("enter", "y", "s", "escape", "colon")
        screen.app.typed("r1=100")
        assert node.asked == []
        assert " RW " in screen.header
        await screen.pilot.resize_terminal(80, 24)
        await screen.until(lambda: "reason" in screen.said)
        await screen.press("escape")
        assert node.asked == []


async def test_q_asks_nothing(quiet_home: Home, node: FakeNode) -> None:
    """Quitting is safe: the node keeps running."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        await screen.press("q")
        assert screen.app._exit
    assert node.asked == []


async def test_ascii_is_enough(busy_home: Home) -> None:
    """A terminal without UTF-8 gets every block in ASCII, at the same places."""
    async with pilot.at(pilot.program(busy_home, chart="ascii")) as screen:
        assert screen.text.isascii()
        assert "- TRAFFIC support -" in screen.text
        assert all(len(row) <= 80 for row in screen.text.split("\n"))


async def test_an_error_of_the_poller_ends_the_screen_with_its_own_traceback(
    quiet_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours is not hidden behind an old snapshot."""

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("a mistake")

    app = Tui(quiet_home, now_us=lambda: populated_homes.NOW_US)
    monkeypatch.setattr(app.poller, "tick", broken)
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        await _sit_until_it_ends(app)


async def _sit_until_it_ends(app: Tui) -> None:
    async with app.run_test() as pilot:
        while app._exception is None:
            await pilot.pause(0.01)


@pytest.mark.parametrize("key", ["", "t", "l", "j", "question_mark"])
async def test_a_snapshot_that_arrives_while_the_screen_closes_is_not_drawn(
    busy_home: Home, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """The widgets are removed one after another, and the poller is stopped after them."""
    arrived = 0

    def on_unmount(place: Place) -> None:
        nonlocal arrived
        arrived += 1
        place.program.redraw()

    monkeypatch.setattr(Place, "on_unmount", on_unmount, raising=False)
    async with pilot.at(pilot.program(busy_home)) as screen:
        if key:
            await screen.press(key)
            await screen.until(lambda: screen.place.ready)
    assert arrived
