"""All that is known to be wrong, in full, by one key from everywhere."""

from __future__ import annotations

import pytest

from app import snapshot
from app.screens import problems
from app.widgets import palette
from storage.home.paths import Home
from tests.app import pilot

pytestmark = pytest.mark.usefixtures("node")


async def test_every_problem_that_row_1_counts_is_shown_in_full(ailing_home: Home) -> None:
    """Row 1 has the worst, their number and the key; the place has all of their sentences."""
    async with pilot.at(pilot.program(ailing_home)) as screen:
        troubles = screen.app.current.header.troubles
        assert len(troubles) > 1
        assert f"+{len(troubles) - 1} (!)" in screen.header
        await screen.go("exclamation_mark")
        said = " ".join(screen.text.split())
        for each in troubles:
            assert each.sentence in said
        assert f"{len(troubles)} problems, the worst first" in said
        await screen.press("y")
        assert f"Copied {len(troubles)} lines" in screen.said


def test_a_box_without_problems_says_what_was_looked_at() -> None:
    """An empty list would say nothing."""
    header = snapshot.Header(
        host="box01", person=snapshot.Person(name="sara"), node=snapshot.Node.UP
    )
    rows = [palette.text(row) for row in problems.draw(header, 80)]
    assert "Nothing is known to be wrong" in rows[1]


def test_of_a_past_moment_it_is_said_what_is_not_known() -> None:
    """Below the problems; nobody was asked, so no gateway is said to answer."""
    header = snapshot.Header(
        host="box01", person=snapshot.Person(name="sara"), node=snapshot.Node.UP,
        past=("Process ids are not recorded.",),
    )  # fmt: skip
    rows = [palette.text(row) for row in problems.draw(header, 80)]
    assert "By what is recorded, nothing was wrong" in rows[1]
    assert "NOT KNOWN" in rows[2]
    assert rows[3].strip() == "Process ids are not recorded."
