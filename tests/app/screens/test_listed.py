"""What all lists have in common: the filter, its end, and what is said of nothing."""

from __future__ import annotations

import pytest

from app.screens.listed import Listed
from app.widgets.table import Table
from storage.home.paths import Home
from tests.app import pilot

pytestmark = pytest.mark.usefixtures("node")


async def test_a_filter_keeps_the_rows_with_all_of_its_words(busy_home: Home) -> None:
    """In every list that is on the screen as a whole; esc ends the filter before it leads back."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        for key, kept in (("t", "r2"), ("v", "R2"), ("m", "1.1")):
            await screen.go(key)
            place, every = screen.place, screen.place.query_one(Table).keys
            assert isinstance(place, Listed)
            assert len(every) > 1
            await screen.press("slash")
            await screen.type(kept)
            assert len(place.query_one(Table).keys) == 1, "while it is typed"
            await screen.press("escape")
            assert place.query_one(Table).keys == every, "a filter that was cancelled is none"
            await screen.press("slash")
            await screen.type(kept)
            await screen.press("enter")
            assert len(place.query_one(Table).keys) == 1
            assert f"containing “{kept}”" in screen.text
            assert f"1 of {len(every)}" in screen.text
            await screen.press("slash", "ctrl+u")
            await screen.type("nothing")
            await screen.press("enter")
            assert "no row contains “nothing”" in screen.text
            await screen.press("escape")
            assert (screen.place, place.query_one(Table).keys) == (place, every)


async def test_an_empty_list_says_how_its_first_row_is_made(quiet_home: Home) -> None:
    """In as many rows as it takes at 80 columns, and with the keys and why they cannot be used."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        for key, command in (
            ("r", "`paddock rollouts start SERVICE --to r2`, starts one"),
            ("b", "`paddock ab-tests start SERVICE --arm r1=50 --arm r2=50 --goal thumbs_up`"),
            ("w", "`paddock releases replay r2 --service SERVICE` asks"),
        ):
            await screen.go(key)
            assert command in " ".join(screen.text.split())
            assert "…" not in screen.text
        await screen.go("b")
        assert "x stop  f promote  read-only: :rw first" in screen.text
