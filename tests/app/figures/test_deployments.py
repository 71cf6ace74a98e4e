"""What a deployment's state is, and why it is not well."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import store as stores
from storage import upstream_health
from storage.home.paths import Home
from tests.app import populated_homes, store_facts

pytestmark = pytest.mark.usefixtures("node")


async def states(home: Home) -> dict[str, tuple[str, str]]:
    """The state and the reason of each deployment on the pulse."""
    pulse = (await store_facts.look(home)).pulse
    assert pulse is not None
    return {each.name: (each.state, each.reason) for each in pulse.deployments}


async def test_that_the_node_gave_a_deployment_up_is_among_the_last_events(
    ailing_home: Home,
) -> None:
    """As the newest of them."""
    pulse = (await store_facts.look(ailing_home)).pulse
    assert pulse is not None
    why = "its instances died 3 times in 60 s: signal 9"
    assert (pulse.events[0].who, pulse.events[0].what) == ("node", f"ops-1.0.0 is failing: {why}")


async def test_a_deployment_that_is_down_says_why(ailing_home: Home) -> None:
    """The node's evidence of one that it gave up, the failed health check of an upstream."""
    assert await states(ailing_home) == {
        "ops-1.0.0": ("failing", "its instances died 3 times in 60 s: signal 9"),
        "phi": ("ready", ""),
        "vllm": ("down", "it is unreachable: connection refused"),
    }


@pytest.fixture
def changed_home(tmp_path: Path) -> Home:
    """The same box, to be written to."""
    return populated_homes.make(tmp_path / "home", populated_homes.ailing)


async def test_an_idle_upstream_is_not_taken_for_a_dead_one(changed_home: Home) -> None:
    """Its health check counts, not whether anything was measured of its load."""
    store = await stores.open(changed_home)
    try:
        await store.write(
            lambda s: upstream_health.observe(s, "vllm", None, populated_homes.NOW_US)
        )
    finally:
        await store.close()
    assert (await states(changed_home))["vllm"] == ("answering", "")
