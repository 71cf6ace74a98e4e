"""Drills without a node: what is refused, what is left after a crash, the disk that is full.

`tests/acceptance/test_drills.py` performs all of them on a real box.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from runbooks import runner
from runbooks.drills import faults, perform, plans
from runbooks.drills.detecting import Detecting
from runbooks.drills.drill import Fault, Scene
from runbooks.drills.load import Load
from runbooks.drills.site import Site
from storage import alert_rule_versions, alerts, drills, intents
from storage.alert_rules import Rule
from storage.control_socket import client
from storage.drills import State
from storage.store import Session
from tests.runbooks import worlds
from tests.runbooks.worlds import World


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A box in this process."""
    async with worlds.world(tmp_path / "home", monkeypatch) as made:
        yield made


def test_every_drill_that_is_named_can_be_performed() -> None:
    """Names and faults are listed apart, so that a terminal need not load the faults."""
    assert plans.PLANS.keys() == faults.FAULTS.keys()


async def test_a_full_disk_loses_nothing_that_was_acknowledged(world: World) -> None:
    """In a scratch store, whose files a limit keeps from growing; it is removed afterwards."""
    ended = await world.person("drills.start", "disk-full")
    assert ended.state is intents.State.APPLIED, ended.outcome
    (drill,) = await world.read(drills.tail)
    assert drill.state is State.PASSED
    moments = [drill.injected_at_us, drill.detected_at_us, drill.acted_at_us, drill.recovered_at_us]
    assert moments == sorted(moments)
    assert "nothing was written" in (drill.detected_by or "")
    assert list(world.store.home.root.glob("drill-*")) == []


class Smoke(Fault):
    """A fault whose figure is out of bounds at once."""

    rules = ("smoke",)

    async def measured(self, scene: Scene) -> str | None:
        """At once."""
        del scene
        return "grey"


async def _detecting(world: World) -> tuple[Detecting, asyncio.Task[None]]:
    """The detection of a drill of that, and the injection, which is done."""
    started = await world.store.write(lambda s: _unclaimed(s, "models.nothing"))
    intent = await world.read(lambda s: intents.find(s, started))
    drill = await world.store.write(
        lambda s: drills.begin(s, name="smoke", intent_id=started, actor="kim", at_us=5)
    )
    box = runner.Runner(world.store, dict, now_us=world.now_us)
    site = Site(box, world.store.home, intent, "smoke")
    scene = Scene(site, Load("http://127.0.0.1:1", "k", site.name), world.store.home.root)
    injecting = asyncio.create_task(asyncio.sleep(0))
    return Detecting(box, drill, Smoke(), scene, injecting), injecting


async def _alert(world: World, service: str) -> int:
    """An alert of the rule fires."""
    world.second += 60

    async def work(s: Session) -> int:
        return await alerts.begin(
            s, rule="smoke", rule_version=1, labels={"service": service}, runbook=None,
            severity=alerts.Severity.WARNING, summary="smoke", state=alerts.State.FIRING,
            value=1.0, clock_us=1, at_us=world.now_us(),
        )  # fmt: skip

    number: int = await world.store.write(work)
    return number


async def test_a_fault_is_detected_when_its_alert_fires_about_the_drill(world: World) -> None:
    """Not by the same rule about another service; the figure's time is beside it."""
    rule = Rule(
        name="smoke", expression="paddock_instance_up == 0", for_s=900, summary="smoke"
    )  # fmt: skip
    await world.store.write(
        lambda s: alert_rule_versions.set(s, rule, actor="kim", at_us=1, intent_id=None)
    )
    detecting, injecting = await _detecting(world)
    await injecting
    assert await detecting.look() is None
    await _alert(world, "support")
    assert await detecting.look() is None
    number = await _alert(world, "drill-smoke")
    assert await detecting.look() == f"alert {number}, smoke (`for` 15m): smoke"
    (drill,) = await world.read(drills.tail)
    fired = await world.read(lambda s: alerts.find(s, number))
    assert (drill.alert_id, drill.detected_at_us) == (number, fired.fired_at_us)
    assert (drill.measured_by, drill.measured_at_us) == ("grey", worlds.BEGIN_S * 1_000_000)


async def test_without_a_rule_in_force_the_figure_detects_the_fault(world: World) -> None:
    """An operator may have removed the rule."""
    detecting, injecting = await _detecting(world)
    await injecting
    assert await detecting.look() == "grey"
    (drill,) = await world.read(drills.tail)
    assert (drill.alert_id, drill.detected_at_us) == (None, drill.measured_at_us)


async def test_a_box_that_cannot_bear_it_refuses_a_drill(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is unknown, a frozen box, a second at a time, too little memory."""
    ended = await world.person("drills.start", "earthquake")
    assert "There is no drill earthquake; there are long-prompt-flood" in (ended.outcome or "")

    await world.must("box.freeze", "box")
    ended = await world.person("drills.start", "disk-full")
    assert (ended.state, "frozen" in (ended.outcome or "")) == (intents.State.REFUSED, True)
    await world.must("box.unfreeze", "box")

    other = await world.store.write(lambda s: _unclaimed(s, "models.nothing"))
    await world.store.write(
        lambda s: drills.begin(s, name="worker-killed", intent_id=other, actor="kim", at_us=5)
    )
    ended = await world.person("drills.start", "disk-full")
    assert "Drill 1 (worker-killed) is running" in (ended.outcome or "")
    await world.store.write(lambda s: drills.end(s, 1, State.FAILED, "over", at_us=6))

    monkeypatch.setattr(perform, "NEEDS_BYTES", psutil.virtual_memory().total * 2)
    ended = await world.person("drills.start", "disk-full")
    assert "MB of memory" in (ended.outcome or "")


async def _unclaimed(s: Session, verb: str) -> int:
    """An intent that no process here claims."""
    return await intents.accept(
        s, actor="kim", role="admin", verb=verb, target="disk-full", arguments={}, at_us=5
    )


async def test_a_drill_that_was_cut_off_is_cleaned_up_and_has_failed(world: World) -> None:
    """The runner claims its intent again; the fault is not injected a second time."""
    left = world.store.home.root / "drill-left"
    left.mkdir()

    async def begun(s: Session) -> int:
        number = await _unclaimed(s, "drills.start")
        await drills.begin(s, name="disk-full", intent_id=number, actor="kim", at_us=5)
        return number

    number = await world.store.write(begun)
    ended = await client.wait(world.store, number, 60.0)
    said = "disk-full failed: the runner was restarted during it."
    assert (ended.state, ended.outcome) == (intents.State.FAILED, said)
    (drill,) = await world.read(drills.tail)
    assert (drill.state, drill.injected_at_us) == (State.FAILED, None)
    assert not left.exists()
