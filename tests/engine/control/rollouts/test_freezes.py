"""A frozen service, and a frozen box: nothing goes forward, and going back is always allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.control.rollouts.decide import Do
from storage import freezes, intents, models, processes
from storage.processes import State
from storage.release_content import Engine
from storage.rollouts import Why
from storage.store import Session
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World
from tests.storage import fixtures

WHO = {"services.freeze": "support", "box.freeze": "box"}


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The box of a test."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


async def led(world: World) -> None:
    """A rollout is promoted to its end."""
    rollout = await world.start(strategy="blue_green")
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()
    await world.ask("rollouts.promote", rollout=rollout.id, full=True)


@pytest.mark.parametrize("verb", WHO)
async def test_undo_loads_a_release_that_was_released_though_the_service_is_frozen(
    world: World, verb: str
) -> None:
    """The old release is loaded, smoked and switched to; the freeze stays."""
    await led(world)
    world.wait(3600)
    assert Do.RELEASE in {plan.do for plan in await world.settle()}
    _, name = await world.instance(STABLE)
    await world.store.write(lambda s: processes.move(s, name, State.STOPPED, at_us=world.now_us))
    await world.ask(verb, target=WHO[verb], reason="an incident")
    done = await world.ask("rollouts.undo", rollout=1)
    assert done.state is intents.State.APPLIED, done.outcome
    assert await world.weights() == {CANDIDATE: 10_000, STABLE: 0}
    await world.load(STABLE)
    await world.settle()
    await world.smoke()
    await world.settle()
    assert await world.weights() == {CANDIDATE: 0, STABLE: 10_000}
    assert (await world.service()).frozen is not None


async def test_undo_to_an_earlier_revision_is_allowed_on_a_frozen_box(world: World) -> None:
    """By a rollout that skips the steps within the window; forward is still refused."""
    third = await world.store.write(_third)
    await led(world)
    await world.settle()
    await world.ask("rollouts.start", release=third, strategy="blue_green")
    await world.load(3)
    await world.settle()
    await world.smoke()
    await world.settle()
    await world.ask("rollouts.promote", rollout=2, full=True)
    await world.freeze_box()
    back = await world.ask("rollouts.undo", to_revision=0)
    assert back.state is intents.State.APPLIED, back.outcome
    await world.settle()
    await world.smoke()
    await world.settle()
    assert (await world.weights())[STABLE] == 10_000
    forward = await world.ask("rollouts.start", release="r2")
    assert forward.state is intents.State.REFUSED
    assert "frozen with the whole box" in (forward.outcome or "")


async def _third(s: Session) -> str:
    release = await fixtures.release(
        s, (await models.every(s))[0], engine=Engine(context_tokens=2048)
    )
    return release.name


async def test_on_a_frozen_box_nothing_begins_or_goes_forward_and_harm_still_ends(
    world: World,
) -> None:
    """Starts, splits and new services are refused with who froze it and what allows them again."""
    await world.start()
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()
    assert "Froze the box" in (await world.freeze_box() or "")
    world.wait(10)
    await world.serve(320)
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}
    refused = [
        await world.ask("services.create", target="other", release="r1", record_text=False),
        await world.ask("rollouts.promote", rollout=1),
        await world.ask("services.remove", despite_traffic=True),
    ]
    for each in refused:
        assert each.state is intents.State.REFUSED
        assert "frozen with the whole box by kim" in (each.outcome or "")
    await world.serve(400, failed=400)
    assert next(plan.why for plan in await world.settle()) is Why.HARM
    again = await world.ask("rollouts.retry", rollout=1)
    assert "`paddock unfreeze` allows changes again" in (again.outcome or "")
    assert (await world.ask("rollouts.undo", rollout=1)).state is intents.State.APPLIED


async def test_a_box_is_unfrozen_once_and_its_services_keep_their_own_freeze(
    world: World,
) -> None:
    """A service says which of the two holds it, and what ends that."""
    await world.freeze_box()
    own = await world.ask("services.unfreeze")
    assert "`paddock unfreeze` allows changes again" in (own.outcome or "")
    await world.ask("services.freeze", reason="month end")
    assert "Unfroze the box" in ((await world.ask("box.unfreeze", target="box")).outcome or "")
    assert "no change" in ((await world.ask("box.unfreeze", target="box")).outcome or "")
    service = await world.service()
    assert service.frozen is not None
    assert (service.frozen.box, service.frozen.reason) == (False, "month end")
    async with world.store.read() as s:
        assert await freezes.of_box(s) is None
