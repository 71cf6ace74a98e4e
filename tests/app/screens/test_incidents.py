"""Incidents on the screen: row 1, the list, one in full, and what people do with keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import incidents
from storage.home.paths import Home
from storage.incidents import Role, Severity, State
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.storage import fixtures

pytestmark = pytest.mark.usefixtures("node")

NOW = populated_homes.NOW_US
MINUTE = 60_000_000


async def scene(store: Store) -> None:
    """One that is over, and one that is active."""
    await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        first = await incidents.open_up(
            s, title="The disk was full", service=None, severity=Severity.SEV3, actor="kim",
            at_us=NOW - 200 * MINUTE,
        )  # fmt: skip
        await incidents.move(
            s, first, State.CLOSED, "logs removed", actor="kim", at_us=NOW - 100 * MINUTE
        )
        second = await incidents.open_up(
            s, title=f"Errors {populated_homes.HOSTILE}", service="support",
            severity=Severity.SEV1, actor="control", at_us=NOW - 4 * MINUTE,
        )  # fmt: skip
        await incidents.assign(
            s, second, Role.COMMANDER, "kim", actor="kim", at_us=NOW - 3 * MINUTE
        )

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those."""
    return populated_homes.make(tmp_path / "home", scene)


async def test_an_active_incident_is_in_row_1_of_every_place(home: Home) -> None:
    """At 80 columns, with for how long."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.until(lambda: "INC-2" in screen.text.split("\n")[0])
        await screen.go("t")
        assert "INC-2" in screen.text.split("\n")[0]


async def test_the_list_leads_to_the_timeline_of_one(home: Home) -> None:
    """Newest first; hostile text stays text."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("i")
        rows = screen.text.split("\n")
        assert "1 active" in rows[1]
        assert rows[3].startswith("▸")
        assert "▲ active" in rows[3]
        assert "closed" in rows[4]
        assert max(len(row) for row in rows) <= 80
        await screen.press("enter")
        await screen.until(lambda: "TIMELINE" in screen.text)
        assert "role: commander: kim" in screen.text
        assert "␛]0;owned" in screen.text
        await screen.press("escape")
        await screen.press("down")
        await screen.until(lambda: "logs removed" in screen.text)


async def test_what_people_do_is_offered_with_its_effect_or_why_not(home: Home) -> None:
    """A stable incident is not declared stable, and who leads it does not take command."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("i")
        stable = screen.place.offer("incidents.stable")
        assert stable is not None
        assert (stable.target, stable.effect) == ("INC-2", "INC-2: clients are no longer affected")
        command = screen.place.offer("incidents.assign")
        assert command is not None
        assert command.arguments == {"role": "commander", "person": "sara"}
        assert command.effect.endswith("(now: kim)")
        reopen = screen.place.offer("incidents.reopen")
        assert reopen is not None
        assert reopen.unable == "INC-2 is active"
        empty = screen.place.offer("incidents.note", " ")
        assert empty is not None
        assert empty.unable
        assert screen.place.copied() == "paddock incidents post-mortem INC-2"


async def test_a_note_is_typed_and_the_incident_declared_stable_by_keys(home: Home) -> None:
    """Three keystrokes and the words."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.press("colon")
        await screen.type("rw")
        await screen.press("enter")
        await screen.go("i")
        await screen.press("N")
        await screen.type("went back to r1")
        await screen.press("enter")
        await screen.press("enter")
        await screen.until(lambda: "Noted in INC-2" in screen.text)
        await screen.press("f")
        await screen.press("enter")
        await screen.until(lambda: "INC-2 is stable" in screen.text)
        assert "INC-2" not in screen.text.split("\n")[0]
