"""What the question before a runbook says that it would change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runbooks import catalog, foresight, steps
from runbooks.steps import Do, Runbook, Step
from storage import services
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.services import Arm
from storage.store import Store
from tests.storage import fixtures


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with a service whose traffic was shifted once."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    await fixtures.furnish(opened)
    arms = [Arm(release=1, weight_bp=9_000), Arm(release=2, weight_bp=1_000)]
    await opened.write(
        lambda s: services.set_split(
            s, service="support", arms=arms, expected_version=None, actor="sara", at_us=5
        )
    )
    yield opened
    await opened.close()


def _roll_back(store: Store) -> Runbook:
    book = catalog.every(store.home)["roll-back"]
    assert isinstance(book, Runbook)
    return book


async def _effects(store: Store, book: Runbook, **inputs: str) -> list[str]:
    async with store.read() as s:
        return await foresight.effects(s, book, inputs, 0)


async def test_a_roll_back_says_the_weights_that_it_would_set(store: Store) -> None:
    """Each arm before and after, as the split's own confirmation words it."""
    (effect,) = await _effects(store, _roll_back(store), service="support")
    assert effect == "support  r1 90 % → 100 %  r2 10 % → 0 %"


async def test_a_service_that_is_back_already_would_not_change(store: Store) -> None:
    """A second roll-back does not bring the bad release back, and says so before it starts."""

    async def back(s: stores.Session) -> None:
        first = min(each.id for each in await services.history(s, "support"))
        await services.go_back(s, service="support", to=first, actor="sara", at_us=6)

    await store.write(back)
    (effect,) = await _effects(store, _roll_back(store), service="support")
    assert effect.startswith("support is back at split 1 (r1 100 %")
    assert effect.endswith(": no change")


async def test_a_knob_and_a_number_of_instances_are_shown_before_and_after(store: Store) -> None:
    """Others as they are written, with the inputs filled in; steps that only look do nothing."""
    inputs = {
        "worker": steps.Input(sentence="which"),
        "most": steps.Input(sentence="how many", type=steps.InputType.INTEGER),
    }
    acts = (
        Do(verb="knobs.set", target="{worker}", arguments={"name": "max_running", "value": 8}),
        Do(verb="deployments.scale", target="{worker}", arguments={"replicas": "{most}"}),
        Do(verb="deployments.restart", target="{worker}"),
    )
    walk = [Step(name=do.verb, sentence="Do it.", do=do) for do in acts]
    book = Runbook(
        name="calm", title="Calm", when="now", inputs=inputs,
        steps=(*walk, Step(name="see", sentence="Look.")),
    )  # fmt: skip
    assert await _effects(store, book, worker="ops-1.0.0", most="3") == [
        "ops-1.0.0  max_running 16 → 8",
        "ops-1.0.0  replicas 1 → 3",
        "deployments.restart ops-1.0.0",
    ]


async def test_what_cannot_be_foreseen_is_left_to_the_run(store: Store) -> None:
    """An unknown service, or a missing input: the run refuses with the whole reason."""
    assert await _effects(store, _roll_back(store), service="nope") == []
    assert await _effects(store, _roll_back(store)) == []
