"""The version that an action expects: what its step looked at, whatever its noun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runbooks import actions
from runbooks.steps import Do
from storage import knobs, prompts, runs, services
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runs import Run
from storage.services import Arm
from storage.store import Store
from tests.storage import fixtures

RUN = Run(
    id=1,
    runbook="any",
    intent_id=1,
    actor="sara",
    inputs={"service": "support", "label": "production"},
    state=runs.State.RUNNING,
    reason=None,
    began_at_us=1,
    ended_at_us=None,
    content=None,
)
WORKER = "ops-1.0.0"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with a service, a deployment and a prompt."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    await fixtures.furnish(opened)
    yield opened
    await opened.close()


async def _version(store: Store, verb: str, target: str, **arguments: Any) -> int | None:
    do = Do(verb=verb, target=target, arguments=arguments)
    async with store.read() as s:
        return await actions.version(s, RUN, do)


async def test_a_service_has_the_version_of_its_split(store: Store) -> None:
    """It grows with each split; a service that does not exist has none."""
    assert await _version(store, "services.split", "{service}") == 1
    arms = [Arm(release=2, weight_bp=10_000)]
    await store.write(
        lambda s: services.set_split(
            s, service="support", arms=arms, expected_version=None, actor="a", at_us=5
        )
    )
    assert await _version(store, "services.undo", "{service}", to="{looked}") == 2
    assert await _version(store, "services.split", "gone") is None


async def test_a_knob_has_the_id_of_its_newest_setting(store: Store) -> None:
    """0 before the first, as `knobs.set` expects it."""
    arguments = {"name": "max_running", "value": "{looked}"}
    assert await _version(store, "knobs.set", WORKER, **arguments) == 0
    knob = await store.write(
        lambda s: knobs.set(
            s, deployment=WORKER, name="max_running", value=2, actor="a", at_us=5,
            expected_version=0,
        )
    )  # fmt: skip
    assert await _version(store, "knobs.set", WORKER, **arguments) == knob.id


async def test_a_label_has_the_number_that_it_points_at(store: Store) -> None:
    """0 for none; the label may be an input."""
    assert await _version(store, "prompts.label", "terse", label="{label}", number=1) == 0
    await store.write(lambda s: prompts.label(s, "terse", "production", 1, "a", 5))
    assert await _version(store, "prompts.label", "terse", label="{label}", number=1) == 1


async def test_other_nouns_have_none(store: Store) -> None:
    """Their verbs expect no version."""
    assert await _version(store, "deployments.scale", WORKER, replicas=2) is None
