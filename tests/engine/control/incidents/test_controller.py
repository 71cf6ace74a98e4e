"""Alerts of a real store open, join and settle incidents; each look has a new control."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app import incident_view
from engine.control.incidents.controller import Incidents
from engine.control.incidents.decide import QUIET_US
from engine.control.reconcile import Loop
from storage import alerts, incident_alerts, incident_events, incidents, intents, silences
from storage.alerts import Severity, Why
from storage.incidents import Incident, Kind, State
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import World

APPLIED = intents.State.APPLIED


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A box that serves support."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


async def fire(world: World, rule: str, *, severity: Severity = Severity.CRITICAL) -> int:
    """An alert on support fires."""
    return await world.store.write(
        lambda s: alerts.begin(
            s, rule=rule, rule_version=1, labels={"alertname": rule, "service": "support"},
            severity=severity, summary=f"{rule} on support", runbook="roll-back",
            state=alerts.State.FIRING, value=1.0, clock_us=1, at_us=world.now_us,
        )
    )  # fmt: skip


async def cease(world: World, id: int) -> None:
    """It is over."""
    async with world.store.read() as s:
        found = await alerts.find(s, id)
    await world.store.write(
        lambda s: alerts.move(s, found, alerts.State.INACTIVE, why=Why.UNMET, at_us=world.now_us)
    )


async def settle(world: World) -> list[Incident]:
    """What there is once control has nothing to do."""
    await Loop(world.store, [Incidents()], now_us=lambda: world.now_us).settle()
    async with world.store.read() as s:
        return await incidents.tail(s)


async def test_a_critical_alert_opens_an_incident_that_ends_when_it_is_over(world: World) -> None:
    """It began when the alert did, and is stable from the end of the last alert on."""
    first = await fire(world, "HighErrorRate")
    world.wait(5)
    second = await fire(world, "HighLatency")
    await fire(world, "Slow", severity=Severity.WARNING)
    (opened,) = await settle(world)
    assert (opened.title, opened.service) == ("HighErrorRate on support", "support")
    assert (opened.state, opened.opened_by) == (State.ACTIVE, "control")
    assert opened.began_at_us == world.now_us - 5_000_000
    await cease(world, first)
    world.wait(60)
    await cease(world, second)
    ended = world.now_us
    (same,) = await settle(world)
    assert same.state is State.ACTIVE
    world.wait(QUIET_US / 1_000_000)
    (stable,) = await settle(world)
    assert (stable.state, stable.stable_at_us) == (State.STABLE, ended)
    async with world.store.read() as s:
        told = [(each.kind, each.sentence) for each in await incident_events.of(s, 1)]
        joined = await incident_alerts.of(s, 1)
    assert [each.rule for each in joined] == ["HighErrorRate", "HighLatency"]
    assert [kind for kind, _ in told].count(Kind.OPENED) == 1
    assert {"HighLatency joined: HighLatency on support", "HighErrorRate is over"} <= {
        sentence for _, sentence in told
    }
    assert await settle(world) == [stable]
    async with world.store.read() as s:
        shown = list(incident_view.facts(await incident_view.read(s, 1, world.now_us)))
    assert any("HighErrorRate (over), HighLatency (over)" in line for line in shown)
    assert any("`paddock runbooks start roll-back service=support`" in line for line in shown)


async def test_a_silenced_alert_opens_nothing(world: World) -> None:
    """As during a drill; it opens one if it still fires when the silence is over."""
    await world.store.write(
        lambda s: silences.add(
            s, matchers=("service=support",), starts_at_us=world.now_us,
            ends_at_us=world.now_us + 60_000_000, comment="a drill", maintenance=None,
            actor="kim", at_us=world.now_us, intent_id=None,
        )
    )  # fmt: skip
    await fire(world, "HighErrorRate")
    assert await settle(world) == []
    world.wait(61)
    assert [each.state for each in await settle(world)] == [State.ACTIVE]


async def test_an_alert_that_fires_again_makes_it_active_again(world: World) -> None:
    """The same incident, until a person closes it."""
    await cease(world, await fire(world, "HighErrorRate"))
    again = await fire(world, "HighErrorRate")
    await settle(world)
    await cease(world, again)
    await settle(world)
    world.wait(QUIET_US / 1_000_000)
    assert [each.state for each in await settle(world)] == [State.STABLE]
    await fire(world, "HighErrorRate")
    (woken,) = await settle(world)
    assert (woken.state, woken.stable_at_us) == (State.ACTIVE, None)
    await world.ask("incidents.close", target="INC-1")
    assert [each.state for each in await settle(world)] == [State.CLOSED]
    await fire(world, "HighLatency")
    assert [each.id for each in await settle(world)] == [2, 1]


async def test_a_clock_that_is_set_back_by_an_hour_holds_up_no_incident(world: World) -> None:
    """It is stable and closed in its turn, and its impact is never less than nothing."""
    world.wait(7_200)
    alert = await fire(world, "HighErrorRate")
    (opened,) = await settle(world)
    world.wait(-3_600)
    assert (await world.ask("incidents.note", target="INC-1", sentence="NTP")).state is APPLIED
    async with world.store.read() as s:
        view = await incident_view.read(s, 1, world.now_us)
        assert view.impact.minutes == 0
        assert "active  sev2  support  0 µs" in incident_view.headline(view.incident, world.now_us)
    await cease(world, alert)
    await settle(world)
    world.wait(QUIET_US / 1_000_000)
    (stable,) = await settle(world)
    assert (stable.state, stable.stable_at_us) == (State.STABLE, opened.began_at_us)
    assert (await world.ask("incidents.close", target="INC-1")).state is APPLIED
    async with world.store.read() as s:
        kinds = [each.kind for each in await incident_events.of(s, 1)]
    assert kinds[:2] == [Kind.OPENED, Kind.NOTE]
