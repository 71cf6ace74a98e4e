"""Incidents as people lead them, against a real store and a real control."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from runbooks import post_mortem
from storage import (
    incident_events,
    incident_impacts,
    incident_timelines,
    incidents,
    intents,
    ledger,
    post_mortems,
)
from storage.incident_timelines import Source
from storage.incidents import Incident, Kind, Role, Section, Severity, State
from storage.requests import Class, Outcome
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import STABLE, World

MINUTE_S = 60
APPLIED, REFUSED = intents.State.APPLIED, intents.State.REFUSED


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A box that serves r1."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


async def ask(world: World, verb: str, target: str = "INC-1", **arguments: object) -> str:
    """The outcome of a verb, with how it ended in front."""
    done = await world.ask(f"incidents.{verb}", target=target, **arguments)  # type: ignore[arg-type]
    return f"{done.state}: {done.outcome}"


async def opened(world: World, **arguments: object) -> Incident:
    """A new incident on support."""
    told = await ask(world, "open", "", title="Answers are slow", service="support", **arguments)
    assert told.startswith("applied"), told
    return await found(world)


async def found(world: World) -> Incident:
    """The newest incident."""
    async with world.store.read() as s:
        return (await incidents.tail(s, 1))[0]


async def test_an_incident_goes_from_active_to_stable_to_closed_and_back(world: World) -> None:
    """Each move is an event and an entry of the ledger."""
    incident = await opened(world, severity="sev1")
    assert (incident.state, incident.severity) == (State.ACTIVE, Severity.SEV1)
    world.wait(10 * MINUTE_S)
    assert await ask(world, "stable", reason="rolled back") == (
        "applied: INC-1 is stable (before: active)."
    )
    world.wait(MINUTE_S)
    await ask(world, "close")
    closed = await found(world)
    assert closed.stable_at_us == incident.began_at_us + 10 * 60_000_000
    assert closed.closed_at_us == closed.stable_at_us + 60_000_000
    assert "stable (before: closed)" not in await ask(world, "stable")  # not a legal move
    await ask(world, "reopen", reason="it fails again")
    again = await found(world)
    assert (again.state, again.stable_at_us, again.closed_at_us) == (State.ACTIVE, None, None)
    async with world.store.read() as s:
        kinds = [event.kind for event in await incident_events.of(s, 1)]
        entries = [each.verb for each in await ledger.tail(s, noun="incident")]
    assert kinds == [Kind.OPENED, Kind.MOVED, Kind.MOVED, Kind.MOVED]
    assert entries[::-1] == [
        "incidents.opened", "incidents.stable", "incidents.closed", "incidents.active",
    ]  # fmt: skip


async def test_the_impact_counts_what_clients_met_while_it_was_active(world: World) -> None:
    """Not what came before or after, and not what runs in the background."""
    await world.serve(50, release=STABLE)
    world.wait(MINUTE_S)
    incident = await opened(world)
    await world.serve(20, failed=6, release=STABLE)
    await world.serve(4, outcome=Outcome.REFUSED, release=STABLE)
    await world.serve(9, failed=9, release=STABLE, class_=Class.BACKGROUND)
    world.wait(MINUTE_S)
    await ask(world, "stable")
    world.wait(MINUTE_S)
    await world.serve(30, failed=30, release=STABLE)
    async with world.store.read() as s:
        impact = await incident_impacts.count(s, await incidents.find(s, incident.id), world.now_us)
    (met,) = impact.services
    assert (met.service, met.requests, met.failed, met.refused) == ("support", 20, 6, 4)
    assert (met.users, met.keys, met.tenants) == (0, 3, 1)  # of those who got no answer
    assert (impact.minutes, impact.unanswered, impact.final) == (1.0, 10, True)


async def test_the_timeline_shows_what_changed_before_it_began(world: World) -> None:
    """A change is found before it is linked, and marked once it is.

    In the past of before it was linked it is as it was read then.
    """
    await world.ask("services.split", arms={"r1": 10_000}, reason="the evening's split")
    await world.ask("services.freeze", reason="the release of the day")
    world.wait(20 * MINUTE_S)
    await opened(world)
    async with world.store.read() as s:
        lines = await incident_timelines.read(s, await incidents.find(s, 1), world.now_us)
    changes = [line for line in lines if line.source is Source.CHANGE]
    frozen = next(line for line in changes if "services.freeze" in line.sentence)
    assert frozen.before
    assert "the release of the day" in frozen.sentence
    assert frozen.entry_id is not None
    then_us = world.now_us
    world.wait(MINUTE_S)
    assert (await ask(world, "link", entry=frozen.entry_id)).startswith("applied")
    assert "has the entry" in await ask(world, "link", entry=frozen.entry_id)
    async with world.store.read() as s:
        lines = await incident_timelines.read(s, await incidents.find(s, 1), world.now_us)
    assert [line.entry_id for line in lines if line.linked] == [frozen.entry_id]
    assert sum(line.entry_id == frozen.entry_id for line in lines) == 1
    assert [line.at_us for line in lines] == sorted(line.at_us for line in lines)
    async with world.store.read() as s:
        past = await incident_timelines.read_at(s, await incidents.find(s, 1), then_us)
    assert [line for line in past if line.source is Source.CHANGE] == changes
    assert not any(line.linked for line in past)


async def test_of_two_people_who_move_it_at_once_one_wins(world: World) -> None:
    """The other is refused, and nothing moves twice."""
    incident = await opened(world)
    first, second = await asyncio.gather(
        *(
            world.ask("incidents.close", target="INC-1", by=who, expected_version=incident.version)
            for who in ("kim", "sara")
        )
    )
    assert {first.state, second.state} <= {APPLIED, REFUSED}
    outcomes = {first.outcome, second.outcome}
    assert "INC-1 is closed (before: active)." in outcomes
    async with world.store.read() as s:
        moves = [e for e in await incident_events.of(s, 1) if e.kind is Kind.MOVED]
    assert len(moves) == 1


async def test_a_role_that_someone_else_took_meanwhile_is_not_taken_from_them(
    world: World,
) -> None:
    """Both saw it free: the second refusal names the holder; a note in between changes nothing."""
    seen = (await opened(world)).version
    await ask(world, "note", sentence="it is the disk")

    async def take(who: str, version: int) -> intents.Intent:
        arguments = {"role": "commander", "person": who}
        return await world.ask(
            "incidents.assign", target="INC-1", by=who, expected_version=version, **arguments
        )

    assert (await take("kim", seen)).state is APPLIED
    second = await take("sara", seen)
    assert (second.state, second.outcome) == (
        REFUSED,
        "INC-1 changed since you looked: its commander is kim now; look again.",
    )
    known = await found(world)
    assert known.roles == {Role.COMMANDER: "kim"}
    assert (await take("sara", known.version)).outcome == (
        "commander of INC-1: sara (before: kim)."
    )
    late = await world.ask(
        "incidents.rate", target="INC-1", by="kim", expected_version=seen, severity="sev1"
    )
    assert late.outcome == "INC-1 changed since you looked: it is sev2 now; look again."


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("note", {"sentence": "x", "at_us": 2**52}, "cannot be dated in the future"),
        ("stable", {"at_us": 1}, "between its beginning and now"),
        ("link", {"entry": 10**9}, "ledger has no entry"),
        ("finish_item", {"item": 7}, "no action item 7"),
        ("open", {"title": "x", "service": "ghost"}, "ghost"),
    ],
)
async def test_what_cannot_be_is_refused(
    world: World, verb: str, arguments: dict[str, object], said: str
) -> None:
    """With what is wrong; nothing is recorded."""
    await opened(world)
    told = await ask(world, verb, "" if verb == "open" else "INC-1", **arguments)
    assert told.startswith("refused")
    assert said in told
    async with world.store.read() as s:
        assert len(await incident_events.of(s, 1)) == 1
    assert "is not an incident" in await ask(world, "close", "support")
    assert "no INC-99" in await ask(world, "close", "INC-99")


async def test_a_post_mortem_has_the_figures_and_leaves_the_words_to_people(world: World) -> None:
    """What is not written is a question; what is written is kept as it is."""
    await opened(world)
    await world.serve(10, failed=4, release=STABLE)
    world.wait(3 * MINUTE_S)
    await ask(world, "assign", role="commander", person="sara")
    await ask(world, "note", sentence="rolled back <b>by hand</b> | #1")
    await ask(world, "stable")
    await ask(world, "write", section="root_cause", text="A *bad*\x1b[2J prompt.\n\nSee the diff.")
    await ask(world, "add_item", title="A test for it", owner="kim")
    world.wait(MINUTE_S)
    async with world.store.read() as s:
        read = await post_mortem.read(s, await incidents.find(s, 1), world.now_us)
    document = post_mortem.markdown(read)
    assert document.startswith("# INC-1: Answers are slow\n")
    assert "after 3 min" in document
    assert "| support | 10 | 4 | 0 | 0 |" in document
    assert "## Root cause\n\nA *bad* [2J prompt.\n\nSee the diff.\n" in document
    assert "## Trigger\n\n_What set it off at this moment?_\n" in document
    assert "- [ ] A test for it (kim, 1)" in document
    assert "Nothing has a price, so the money is not known." in document
    assert "- **Commander**: sara" in document
    assert r"rolled back \<b\>by hand\</b\> \| \#1" in document
    await ask(world, "finish_item", item=1)
    async with world.store.read() as s:
        items = await post_mortems.items(s, 1)
    done = post_mortem.markdown(dataclasses.replace(read, items=items))
    assert "- [x] A test for it (kim, 1)" in done


async def test_the_post_mortem_of_an_empty_incident_says_that_nothing_is_known(
    world: World,
) -> None:
    """There were no requests, and no notes."""
    incident = await opened(world)
    async with world.store.read() as s:
        read = await post_mortem.read(s, incident, world.now_us)
    document = post_mortem.markdown(read)
    assert "No client sent a request in this time." in document
    assert "not yet; affected for 0 s" in document
    for section in Section:
        assert read.sections.get(section) is None


async def test_roles_are_held_by_one_person_and_given_back(world: World) -> None:
    """An assignment says who had the role before."""
    await opened(world)
    await ask(world, "assign", role="commander", person="kim")
    assert "is kim already" in await ask(world, "assign", role="commander", person="kim")
    await ask(world, "assign", role="commander", person="sara")
    assert (await found(world)).roles == {Role.COMMANDER: "sara"}
    await ask(world, "assign", role="commander")
    assert (await found(world)).roles == {}
    async with world.store.read() as s:
        said = [e.sentence for e in await incident_events.of(s, 1)]
    assert "commander: sara (before: kim)" in said
    assert msgspec.json.encode(await found(world))
