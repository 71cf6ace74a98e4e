"""The place of the ledger: each change with its reason and values, also as of a past moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.snapshot import Query
from storage import intents, ledger, services
from storage.home.paths import Home
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.app.populated_homes import HOSTILE, NOW_US, SECOND_US
from tests.app.store_facts import look

pytestmark = pytest.mark.usefixtures("node")

MANY = 230
BORN_US = NOW_US - 600 * SECOND_US


async def scene(store: Store) -> None:
    """A long ledger; then a freeze by an intent with a reason, and an entry by an outsider."""
    await populated_homes.quiet(store)

    async def work(s: Session) -> None:
        for number in range(MANY):
            await ledger.write(
                s, actor="node", verb="drill.write", noun="drill", key=f"row {number}", before=None,
                after=number, at_us=BORN_US,
            )  # fmt: skip
        at_us = NOW_US - 60 * SECOND_US
        id = await intents.accept(
            s, actor="sara", role="operator", verb="services.freeze", target="support",
            arguments={}, reason="the month end of finance", at_us=at_us,
        )  # fmt: skip
        await services.freeze(
            s, service="support", reason="month end", actor="sara", at_us=at_us, intent_id=id
        )
        await ledger.write(
            s, actor=f"lee{HOSTILE}", verb="knobs.set", noun="knob", key=HOSTILE,
            before={"value": 16}, after={"value": 8, "note": "x" * 3_000}, reason=HOSTILE,
            at_us=NOW_US - SECOND_US,
        )  # fmt: skip

    await store.write(work)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A box with that ledger."""
    return populated_homes.make(Path(tmp_path_factory.mktemp("ledger")) / "home", scene)


async def test_an_entry_is_shown_with_who_made_it_why_and_its_values(home: Home) -> None:
    """At 80×24; what others wrote is made safe, and a long value is cut with a sign."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("e")
        rows = screen.text.split("\n")
        assert "LEDGER" in rows[1]
        assert "newest 200" in rows[1]
        assert "\x1b" not in screen.text
        assert '{"value": 16}' in screen.text
        assert "…" in screen.text
        await screen.press("down")
        shown = " ".join(screen.text.split())
        assert "sara services.freeze service support" in shown
        assert "reason the month end of finance" in shown
        assert "by intent 1" in shown


async def test_the_end_of_the_list_asks_for_older_entries(home: Home) -> None:
    """And once all of them are there, for no more."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("e")
        await screen.press("end", "down")
        await screen.until(lambda: "· all " in screen.text.split("\n")[1])
        wanted = screen.place.wanted()
        await screen.press("end", "down")
        assert screen.place.wanted() == wanted


async def test_a_filter_searches_the_whole_ledger(home: Home) -> None:
    """By a person, a kind of thing or the reason of an intent; not only in the newest entries."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("e")
        for typed, found in (("FINANCE Sara", "services.freeze"), ("services.create", "support")):
            await screen.press("slash", "ctrl+u")
            await screen.type(typed)
            await screen.press("enter")
            await screen.until(lambda: "· all 1" in screen.text.split("\n")[1])
            assert found in screen.text
        await screen.press("slash", "ctrl+u")
        await screen.type("nothing")
        await screen.press("enter")
        await screen.until(lambda: "no entry contains “nothing”" in screen.text)


async def test_of_a_past_moment_there_is_what_had_been_written_by_then(home: Home) -> None:
    """Without the entries of the last minutes."""
    now, then = (
        await look(home, Query(place="ledger")),
        await look(home, Query(place="ledger", at_us=NOW_US - 120 * SECOND_US)),
    )
    assert now.ledger is not None
    assert then.ledger is not None
    assert [each.verb for each in now.ledger.rows[:2]] == ["knobs.set", "services.freeze"]
    assert {each.noun for each in then.ledger.rows} == {"drill"}
