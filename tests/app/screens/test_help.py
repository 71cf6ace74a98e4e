"""Help says what every key does here, from the table that the command line reads, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import actions, words
from app.screens import help, keymap, places
from app.screens.place import Place, foot
from app.widgets import palette
from storage.home.paths import Home
from tests.app import pilot

pytestmark = pytest.mark.usefixtures("node")


def test_keys_that_only_look_agree_with_the_table() -> None:
    """They are written twice so that the first paint need not wait; here they are held together."""
    table = keymap.keys(actions.TABLE.values())
    looks = {key: name for key, name in table.items() if name[0].startswith("look.")}
    assert looks == {key: (name,) for key, name in keymap.EARLY.items()}
    assert set(keymap.COMMANDS.values()) <= set(actions.TABLE)


def test_every_place_is_helped_with() -> None:
    """Each has its keys in help, those of the verbs that it offers too, and can be reached."""
    assert set(places.BY_NAME) == set(keymap.PLACES)
    reached = {f"look.{where.name}" for where in keymap.PLACES.values() if where.key}
    assert reached - {"look.help"} <= set(help.EVERYWHERE)
    verbs = {name for name, action in actions.TABLE.items() if action.key and "look" not in name}
    assert verbs <= {name for place in places.EVERY for name in place.acts}


@pytest.mark.parametrize("of", places.EVERY, ids=lambda place: place.where)
@pytest.mark.parametrize("width", [80, 200])
def test_nothing_of_help_is_cut(of: type[Place], width: int) -> None:
    """Every sentence is whole, with its command."""
    rows = [palette.text(row) for row in help.draw(of, tuple(actions.TABLE.values()), width)]
    assert all(words.width(row) <= width for row in rows)
    assert not [row for row in rows if "…" in row]
    text = "\n".join(rows)
    for name in (*of.acts, *help.EVERYWHERE):
        assert actions.TABLE[name].sentence in text
    assert "paddock requests tail" in text


def test_what_enter_opens_is_named_by_its_place() -> None:
    """A request among requests, a job among jobs."""
    for of, command in (
        ("requests", "paddock requests show ID"),
        ("jobs", "paddock jobs show JOB"),
        ("rollouts", "paddock rollouts get SERVICE -w"),
    ):
        rows = [
            palette.text(row)
            for row in help.draw(places.BY_NAME[of], tuple(actions.TABLE.values()), 80)
        ]
        assert [row for row in rows if command in row and row.startswith(" enter")]


async def test_help_is_of_the_place_one_came_from(quiet_home: Home) -> None:
    """It scrolls to its end, and esc leads back."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        for key, place in (("o", "pulse"), ("t", "traffic"), ("l", "requests")):
            await screen.go(key)
            await screen.press("question_mark")
            assert f"{place} › help" in screen.said
            await screen.press("end")
            assert "IN, OUT: tokens" in screen.text
            await screen.press("pageup", "home")
            assert "the same on the command line" in screen.text
            await screen.press("escape")
            assert screen.place.where == place


def test_the_readme_lists_every_place() -> None:
    """With its key, what it shows, and the command that prints the same."""
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    for where in keymap.PLACES.values():
        key = keymap.sign(where.key)
        row = f"| `{key}` | {where.name} | {where.sentence} | `paddock {where.command}` |"
        assert not where.key or row in readme


def test_a_place_is_meant_by_an_unmistakable_beginning() -> None:
    """As people type at night; a letter means what it means without the colon."""
    known = {
        "v": "releases",
        "!": "problems",
        "tr": "traffic",
        "PULSE": "pulse",
        " h ": "help",
        "rw": "rw",
        "r": "rollouts",
        "re": None,
        "": None,
    }
    assert known == {typed: keymap.meant(typed) for typed in known}


async def test_a_colon_lists_all_places_and_those_that_go_on_with_what_is_typed(
    quiet_home: Home,
) -> None:
    """With their letters, for which the foot of a narrow terminal has no room."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        await screen.press("colon")
        for where in keymap.PLACES.values():
            if where.key:
                assert f"{keymap.sign(where.key)} {where.name}" in screen.said
        await screen.type("re")
        assert screen.said.split("\n")[0].split() == [
            "v",
            "releases",
            "l",
            "requests",
            "w",
            "replays",
        ]
        await screen.type("x")
        assert "no place begins so" in screen.said


def test_the_foot_of_every_place_says_how_to_reach_the_others() -> None:
    """At 80 columns and more; the releases have their letter on the pulse."""
    for place in places.EVERY:
        for width in (80, 120, 200):
            row = palette.text(foot(place.where, place.hints, width))
            assert words.width(row) <= width
            assert ": places" in row
            assert "? help" in row
    assert "v releases" in palette.text(foot("pulse", (), 80))
