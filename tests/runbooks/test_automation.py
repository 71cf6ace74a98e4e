"""Automation with bounds: which steps it takes alone, how often, where it stops and calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import alerts, intents, knobs, ledger, run_events, runs
from storage.alerts import State as AlertState
from storage.runs import Pace, Run, State
from storage.samples import Kind
from storage.store import Session
from tests.runbooks import worlds
from tests.runbooks.worlds import World, host, instance, latency

OPS = "ops-1.0.0"


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A box that is slow and idle: its batch is too small."""
    async with worlds.world(tmp_path / "home", monkeypatch) as made:
        await made.must("knobs.set", OPS, name="max_running", value=2)
        await _slow(made)
        yield made


async def _slow(world: World) -> None:
    await world.measured(
        (Kind.ARM, "support/r1", latency(6000)),
        (Kind.INSTANCE, f"{OPS}:1", instance(waiting=9)),
        (Kind.HOST, "box", host()),
    )


async def _fires(world: World, rule: str = "latency-p95-critical") -> None:
    """An alert begins to fire; it is another one each time."""
    world.second += 1

    labels = {"service": "support", "n": str(world.second)}

    async def work(s: Session) -> None:
        await alerts.begin(
            s, rule=rule, rule_version=1, labels=labels, runbook="high-latency",
            severity=alerts.Severity.CRITICAL, summary="slow", state=AlertState.FIRING, value=6.0,
            clock_us=1, at_us=world.now_us(),
        )  # fmt: skip

    await world.store.write(work)


async def _run(world: World, number: int, *states: State) -> Run:
    """The run with this number, as soon as it is in one of these states."""
    run = await world.until(lambda s: _found(s, number), lambda run: run.state in states)
    assert isinstance(run, Run)
    return run


async def _found(s: Session, number: int) -> Run | None:
    return {run.id: run for run in await runs.tail(s)}.get(number)


async def test_nothing_starts_by_itself_until_an_operator_enables_it(world: World) -> None:
    """And what has no `on` cannot be enabled."""
    await _fires(world)
    refused = await world.person("runbooks.automate", "roll-back")
    assert "roll-back has no `on`" in (refused.outcome or "")
    assert await world.read(runs.tail) == []


async def test_it_takes_its_own_steps_stops_before_others_and_can_be_undone(world: World) -> None:
    """As its own principal; a person takes over where it stopped."""
    said = await world.must("runbooks.automate", "high-latency")
    assert "takes batch, long without a person" in said
    await _fires(world)
    run = await _run(world, 1, State.WAITING)
    assert (run.pace, run.waits_at, run.taken_by) == (Pace.ALONE, "shed", None)
    assert world.asked == ["batch: knobs.set", "batch (undo): knobs.undo", "long: knobs.set"]
    assert run.inputs["service"] == "support"
    (began, *_) = await world.read(lambda s: run_events.of(s, 1))
    assert (began.actor, began.sentence) == ("automation high-latency", "alert 1: slow")
    started = await world.read(lambda s: intents.find(s, run.intent_id))
    enabled = await world.read(lambda s: intents.find(s, started.on_behalf_of))
    assert (enabled.verb, enabled.actor) == ("runbooks.automate", "kim")
    entries = await world.read(lambda s: ledger.of(s, "run", "1"))
    assert {each.actor for each in entries} == {"automation high-latency", "runner"}

    await world.must("runbooks.skip", "1", step="shed")
    taken = await _run(world, 1, State.WAITING)
    assert (taken.taken_by, taken.pace, taken.waits_at) == ("kim", Pace.STEP, "scale")
    await world.must("runbooks.abort", "1")
    await world.must("runbooks.undo", "1")
    found = await world.read(lambda s: knobs.of(s, OPS))
    assert (found["max_running"], found["max_tokens_cap"]) == (2, 131_072)


async def test_it_starts_only_so_often_and_not_beside_itself(world: World) -> None:
    """What was decided is said; other alerts are not its business."""
    await world.must("runbooks.automate", "high-latency")
    await _fires(world, "kv-pressure")
    await _fires(world)
    await _run(world, 1, State.WAITING)
    await _fires(world)
    assert "run 1 has not ended" in await world.until_said("has not ended")
    for number in (1, 2):
        await world.must("runbooks.take", str(number))
        await world.must("runbooks.abort", str(number))
        await _slow(world)
        await _fires(world)
        if number == 1:
            await _run(world, 2, State.WAITING)
    assert "as often as it may (2 per 1h)" in await world.until_said("as often")
    assert len(await world.read(runs.tail)) == 2
    await world.must("runbooks.automate", "high-latency", on=False)


async def test_a_runbook_that_changed_since_does_not_start(world: World) -> None:
    """An operator looks at it first."""
    await world.must("runbooks.automate", "high-latency")
    own = world.store.home.root / "runbooks"
    own.mkdir()
    shipped = worlds.library("high-latency")
    (own / "high-latency.yaml").write_text(
        shipped.replace("alone: [batch, long]", "alone: [scale]")
    )
    await _fires(world)
    assert "changed since it was enabled" in await world.until_said("changed since")
    assert await world.read(runs.tail) == []
