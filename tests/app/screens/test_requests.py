"""The list of requests, and one of them in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.widgets.table import Table
from storage import requests
from storage import store as stores
from storage.home.paths import Home
from tests.app import pilot, populated_homes
from tests.app.pilot import RunningScreen

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box of this test's own, in which requests may come."""

    async def scene(store: stores.Store) -> None:
        await populated_homes.quiet(store)
        made = [populated_homes.ended(number) for number in range(40, 0, -1)]
        await store.write(lambda s: requests.record(s, made))

    return populated_homes.make(tmp_path / "home", scene)


async def come(home: Home, *numbers: int) -> None:
    """More requests end."""
    store = await stores.open(home)
    made = [populated_homes.ended(number) for number in numbers]
    await store.write(lambda s: requests.record(s, made))
    await store.close()


def cursor(screen: RunningScreen) -> str | None:
    """The request under the cursor."""
    return screen.place.query_one(Table).cursor


async def test_the_last_requests_with_their_figures(busy_home: Home) -> None:
    """Newest first, with what happened in words and signs, and who asked."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.go("l")
        rows = screen.text.split("\n")
    assert "all 60 · following" in rows[1]
    assert rows[3].split() == [
        "▸03:12:04", "support", "r1", "ok", "131072", "40", "1.3", "min", "1.6", "min", "client",
    ]  # fmt: skip
    assert rows[4].endswith("synth")
    assert "▲ failed" in rows[5]
    assert "△ refused" in rows[6]


async def test_the_filter_is_applied_shown_and_taken_away(busy_home: Home) -> None:
    """Esc removes the filter first, then goes back."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.go("l")
        await screen.press("slash")
        await screen.type("r2")
        await screen.press("enter")
        await screen.until(lambda: "containing “r2”" in screen.text)
        assert {row.split()[2] for row in screen.text.split("\n")[3:9]} == {"r2"}
        await screen.press("escape")
        await screen.until(lambda: "all 60" in screen.text)
        assert screen.place.where == "requests"
        await screen.press("escape")
        assert screen.place.where == "pulse"


async def test_a_filter_that_finds_nothing_says_where_it_looked(home: Home) -> None:
    """A hostile filter is only text."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("l")
        await screen.press("slash")
        await screen.type("[/foo]%_")
        await screen.press("enter")
        await screen.until(lambda: "none of the newest" in screen.text)
        assert "“[/foo]%_”" in screen.text


async def test_the_list_follows_while_the_cursor_is_at_the_top(home: Home) -> None:
    """Then it holds, counts how many are newer, and follows again from the top."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("l")
        await come(home, 100)
        await screen.look()
        assert cursor(screen) == f"req_{100:024x}"
        await screen.press("down")
        under = cursor(screen)
        assert under == f"req_{1:024x}"
        await come(home, 101, 102)
        await screen.look()
        assert cursor(screen) == under
        assert "held, 2 newer (home: follow)" in screen.text
        await screen.press("home")
        await screen.look()
        assert cursor(screen) == f"req_{102:024x}"
        assert "following" in screen.text


async def test_pages_and_ends_are_reached(home: Home) -> None:
    """The cursor stays in sight."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("l")
        await screen.press("end")
        assert cursor(screen) == f"req_{40:024x}"
        assert "▸" in screen.text
        await screen.press("pageup", "pagedown", "up")
        assert cursor(screen) == f"req_{39:024x}"


async def test_a_request_in_full(busy_home: Home) -> None:
    """Where its time went, whose it was, what was said of it; esc leads back to its row."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.go("l")
        await screen.press("down")
        await screen.go("enter")
        text = screen.text
        assert "key demo-load, tenant acme   SYNTHETIC load" in text
        assert "answered   support r1 ops@1.0.0   worker ops-1.0.0" in text
        assert "26.4 tok/s after the first   worker time 310 ms" in text
        assert "thumb up, correct" in text
        assert "word for word" in text
        assert "Where is order 214?" in text
        await screen.go("escape")
        assert cursor(screen) == f"req_{2:024x}"


async def test_a_request_whose_text_is_not_kept_says_so(busy_home: Home) -> None:
    """A text that was never kept is not searched for."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.go("l")
        await screen.go("enter")
        assert "not kept any more" in screen.text


async def test_a_failed_and_a_refused_request_say_why(busy_home: Home) -> None:
    """The reason is beside how it ended; without a token there is no time to the first."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.go("l")
        await screen.press("down", "down")
        await screen.go("enter")
        assert "▲ failed   worker_died" in screen.text
        await screen.go("escape")
        await screen.press("down")
        await screen.go("enter")
        assert "△ refused   queue_full" in screen.text
        assert "no token came" in screen.text
        assert "no arm" in screen.text


async def test_a_long_text_is_scrolled(crowded_home: Home) -> None:
    """What is left below is counted, and every row can be reached."""
    async with pilot.at(pilot.program(crowded_home)) as screen:
        await screen.go("l")
        await screen.go("enter")
        assert "more rows: down, page down" in screen.text
        await screen.press("end")
        assert "more rows" not in screen.text
        await screen.press("home")
        assert "REQUEST req_" in screen.text


async def test_the_id_is_copied(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """By OSC 52, so that it works over SSH."""
    copied: list[str] = []
    app = pilot.program(home)
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with pilot.at(app) as screen:
        await screen.press("y")
        assert "nothing to copy" in screen.said
        await screen.go("l")
        await screen.press("y")
        assert copied == [f"req_{1:024x}"]
        assert "OSC 52" in screen.said
