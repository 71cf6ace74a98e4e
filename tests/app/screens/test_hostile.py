"""Whatever clients, models, files and other machines wrote: no terminal obeys it."""

from __future__ import annotations

import unicodedata

import pytest

from storage.home.paths import Home
from tests.app import pilot

pytestmark = pytest.mark.usefixtures("node")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
async def test_no_place_lets_an_escape_through(crowded_home: Home, width: int, height: int) -> None:
    """Controls, escapes, marks of direction and markup are shown, in every place that has them."""
    seen = ""
    async with pilot.at(pilot.program(crowded_home), width, height) as screen:
        for keys in ("o", "t", "r", "v", "p", "a", "g", "dollar_sign", "e", "l", "enter"):
            await screen.go(keys)
            seen += screen.text
    assert set() == {unicodedata.category(c) for c in seen.replace("\n", "")} & {"Cc", "Cf", "Cs"}
    assert seen.count("␛]0;owned␇") > 3


async def test_what_is_pasted_is_made_visible(quiet_home: Home) -> None:
    """A paste is text for the line that is typed, and nothing where none is."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        screen.app.typed("\x1b[2Jq")
        assert screen.place.where == "pulse"
        await screen.press("colon")
        screen.app.typed("\x1b[2J[/foo]\nq\n")
        await screen.pilot.pause()
        assert screen.said.split("\n")[-1].startswith(" :␛[2J[/foo]")
        await screen.press("enter")
        assert "There is no place “␛[2J[/foo]”" in screen.said
