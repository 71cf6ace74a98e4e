"""Every drill on a real box: the fault is real, and so is what takes it away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from runbooks import parsing
from runbooks.drills import plans
from storage import alert_rule_versions, alerts, drills, incidents, keys, runs, services
from storage.control_socket import client
from storage.drills import State
from tests.engine.node.nodes import RealNode, opened, ready

pytestmark = pytest.mark.soak

UNALERTED = {"corrupt-model", "disk-full"}
"""A refusal is the answer to who asked, and the disk is the drill's own: no rule is about them."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A box with nothing on it."""
    running = RealNode(tmp_path_factory.mktemp("box") / "home")
    running.start()
    try:
        asyncio.run(_until_ready(running))
        yield running
    finally:
        running.end()


async def _until_ready(node: RealNode) -> None:
    for name in ("gateway", "control", "runner"):
        await node.until(ready(name))


@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("name", [*plans.PLANS, "corrupt-model"])  # one of them a second time
async def test_a_drill_passes_and_leaves_nothing_behind(node: RealNode, name: str) -> None:
    """Detected by the alert that is about it, acted upon, over; then all that it made is gone."""
    async with opened(node.home) as store:
        accepted = (await client.ask(node.home, "drills.start", name, {})).intent_id
        await client.wait(store, accepted, 2_300.0)
        async with store.read() as s:
            found = await drills.of_intent(s, accepted)
        assert found is not None
        assert found.state is State.PASSED, found.reason
        moments = [
            found.injected_at_us, found.detected_at_us, found.acted_at_us, found.recovered_at_us,
        ]  # fmt: skip
        assert None not in moments
        assert found.measured_at_us is not None
        async with store.read() as s:
            if name not in UNALERTED:
                assert found.alert_id is not None
                assert (await alerts.find(s, found.alert_id)).fired_at_us == found.detected_at_us
            assert [each.name for each in await services.every(s)] == []
            assert await keys.active(s) == {}
            assert await incidents.open_ones(s) == []  # it woke no one
            assert f"drill-{name}" not in await alert_rule_versions.in_force(s)
    assert list(node.home.root.glob("drill-*")) == []


@pytest.mark.timeout(1_200)
async def test_a_drill_is_acted_upon_by_automation_where_an_operator_asked_for_that(
    node: RealNode,
) -> None:
    """The alert of the drill starts the runbook; the drill is the person whom it calls."""
    own = node.home.root / "runbooks"
    own.mkdir(exist_ok=True)
    shipped = (parsing.LIBRARY / "cost-overrun.yaml").read_text()
    bound = "on: {alert: drill-cost-spike, alone: [long], at_most: 5 per 1h}\n"
    (own / "cost-overrun.yaml").write_text(shipped.replace("pace: step\n", f"pace: step\n{bound}"))
    await node.must("runbooks.automate", "cost-overrun", {})
    async with opened(node.home) as store:
        accepted = (await client.ask(node.home, "drills.start", "cost-spike", {})).intent_id
        await client.wait(store, accepted, 1_100.0)
        async with store.read() as s:
            found = await drills.of_intent(s, accepted)
            still = await runs.open_(s)
    assert found is not None
    assert (found.state, still) == (State.PASSED, []), found.reason
    assert found.acted_by == "automation cost-overrun, step long"
