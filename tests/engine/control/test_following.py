"""Releases that follow a label: each of its moves makes the next release and switches services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from engine.control import following
from storage import ledger, models, prompts, releases, rollouts, services
from storage.intents import Intent, State
from storage.rollout_steps import Strategy
from storage.rollouts import Rollout
from storage.rollouts import State as RolloutState
from storage.services import Arm, Owner, OwnerKind
from tests.engine.control.desks import Desk, desk


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """`support` on r3, which follows terse:production at terse@1; terse@2 is not labelled."""
    async with desk(tmp_path / "home", furnished=True) as made:
        for text in ("one", "two"):
            message = {"role": "system", "template": text}
            await made.do("prompts.add", "terse", prompt="terse", messages=[message])
        await moved(made, 1)
        done = await made.do(
            "releases.create", "", model="ops@1.0.0", prompt="terse", follow=True,
            sampling={"temperature": 0.0},
        )  # fmt: skip
        said = "r3 is ops@1.0.0 with the prompt terse@1, following terse:production."
        assert done.outcome == said
        await made.do("services.split", "support", arms={"r3": 10_000})
        yield made


async def moved(control: Desk, number: int) -> Intent:
    """Move terse:production."""
    return await control.do("prompts.label", "terse", label="production", number=number)


async def arms(control: Desk, service: str = "support") -> dict[int, int]:
    """The weights of a service by release."""
    async with control.store.read() as s:
        return {arm.release: arm.weight_bp for arm in (await services.find(s, service)).split.arms}


async def labelled(control: Desk) -> int:
    """The version that terse:production points at."""
    async with control.store.read() as s:
        return (await prompts.find(s, "terse")).number


async def test_a_move_makes_the_next_release_and_serves_it(control: Desk) -> None:
    """With everything of the one before except the prompt, all under one intent."""
    done = await moved(control, 2)
    assert done.outcome == (
        "terse:production is terse@2 (before: terse@1). Followed by r3 → r4; support: r4 100 %."
    )
    assert await arms(control) == {4: 10_000}
    async with control.store.read() as s:
        old, new = await releases.get(s, 3), await releases.get(s, 4)
        caused = await ledger.caused(s, done.id)
    assert new.prompt_version_id != old.prompt_version_id
    for field in ("model_version_id", "sampling", "limits", "engine", "follows", "deployment"):
        assert getattr(new, field) == getattr(old, field)
    assert [entry.verb for entry in caused if entry.noun != "intent"] == [
        "prompts.label", "releases.create", "services.split",
    ]  # fmt: skip


async def test_going_back_serves_the_release_from_before(control: Desk) -> None:
    """Not a new one with the same content, and once, however often it is asked."""
    await moved(control, 2)
    for _ in range(2):
        done = await control.do("prompts.undo", "terse", label="production", to=1)
        assert done.state is State.APPLIED
        assert (await arms(control), await labelled(control)) == ({3: 10_000}, 1)
    async with control.store.read() as s:
        assert len(await releases.every(s)) == 4
        assert (await services.find(s, "support")).split.restores is not None


async def newest(control: Desk) -> Rollout:
    """The newest rollout of the service."""
    async with control.store.read() as s:
        found = await rollouts.latest(s, "support")
    assert found is not None
    return found


async def test_a_service_follows_by_a_rollout_if_it_asks_for_that(control: Desk) -> None:
    """The label moves at once, the users by steps; asked again it changes nothing."""
    asked = await control.do("services.set", "support", on_label="canary")
    assert asked.outcome == (
        "support: a label that moves is followed by a canary rollout from now on."
    )
    again = await control.do("services.set", "support", on_label="canary")
    assert "no change" in (again.outcome or "")
    done = await moved(control, 2)
    assert "Followed by r3 → r4; support: Started rollout 1 of support: r3 → r4" in (
        done.outcome or ""
    )
    started = await newest(control)
    assert (started.strategy, started.candidate, started.intent_id) == (
        Strategy.CANARY, 4, done.id,
    )  # fmt: skip
    assert (await arms(control), await labelled(control)) == ({3: 10_000, 4: 0}, 2)


async def test_undoing_the_move_takes_its_rollout_back(control: Desk) -> None:
    """Also while the service is frozen, and once, however often it is asked."""
    await control.do("services.set", "support", on_label="blue_green")
    await moved(control, 2)
    await control.do("services.freeze", "support")
    for _ in range(2):
        done = await control.do("prompts.undo", "terse", label="production", to=1)
        assert done.state is State.APPLIED, done.outcome
    assert ((await newest(control)).state, await labelled(control)) == (RolloutState.ABORTED, 1)
    assert await arms(control) == {3: 10_000, 4: 0}
    async with control.store.read() as s:
        assert len(await rollouts.tail(s)) == 1


async def test_a_service_that_cannot_start_its_rollout_keeps_the_label_where_it_is(
    control: Desk,
) -> None:
    """Here because its traffic is split between releases."""
    await control.do("services.set", "support", on_label="canary")
    await control.do("services.split", "support", arms={"r1": 9_000, "r3": 1_000})
    done = await moved(control, 2)
    assert done.state is State.REFUSED
    assert "because support follows it: support is split between releases" in (done.outcome or "")
    assert await labelled(control) == 1


async def test_a_frozen_service_keeps_the_label_where_it_is(control: Desk) -> None:
    """Nothing is half-done: no release, no move, no split."""
    await control.do("services.freeze", "support")
    done = await moved(control, 2)
    assert done.state is State.REFUSED
    assert (done.outcome or "").startswith(
        "terse:production was not moved, because support follows it: support is frozen by kim"
    )
    assert (await arms(control), await labelled(control)) == ({3: 10_000}, 1)
    async with control.store.read() as s:
        assert len(await releases.every(s)) == 3
        assert {entry.noun for entry in await ledger.caused(s, done.id)} == {"intent"}


async def test_going_back_is_allowed_while_the_service_is_frozen(control: Desk) -> None:
    """As with splits: a freeze stops changes, not the way out of one."""
    await moved(control, 2)
    await control.do("services.freeze", "support")
    done = await control.do("prompts.undo", "terse", label="production", to=1)
    assert done.state is State.APPLIED
    assert (await arms(control), await labelled(control)) == ({3: 10_000}, 1)


async def test_a_label_that_serves_is_not_removed(control: Desk) -> None:
    """The refusal names the service and the release; a label that nothing follows goes."""
    refused = await control.do("prompts.unlabel", "terse", label="production")
    assert refused.state is State.REFUSED
    assert refused.outcome == (
        "terse:production cannot be removed: support (r3) follows it. Split to a release that "
        "names a version first."
    )
    await control.do("prompts.label", "terse", label="beta", number=2)
    done = await control.do("prompts.unlabel", "terse", label="beta")
    assert done.outcome == (
        "Removed terse:beta; `paddock prompts label terse@2 beta` sets it again."
    )
    assert await labelled(control) == 1


async def test_the_owner_of_a_split_is_respected(control: Desk) -> None:
    """Forward and back; the refusal names the rollout."""
    await moved(control, 2)
    owner = Owner(OwnerKind.ROLLOUT, "7")
    await control.store.write(
        lambda s: services.take(s, service="support", owner=owner, actor="control", at_us=1)
    )
    forward = await moved(control, 1)
    back = await control.do("prompts.undo", "terse", label="production", to=1)
    for refused in (forward, back):
        assert refused.state is State.REFUSED
        assert "rollout 7 owns the split of support" in (refused.outcome or "")
    assert (await arms(control), await labelled(control)) == ({4: 10_000}, 2)


async def test_one_of_two_services_that_cannot_follow_stops_the_move(control: Desk) -> None:
    """The other one is not switched either."""
    await control.do("services.create", "aside", release="r3")
    await control.do("services.freeze", "support")
    refused = await moved(control, 2)
    assert refused.state is State.REFUSED
    assert await arms(control, "aside") == {3: 10_000}
    await control.do("services.unfreeze", "support")
    done = await moved(control, 2)
    assert (done.outcome or "").endswith("aside: r4 100 %; support: r4 100 %.")
    assert await arms(control, "aside") == await arms(control) == {4: 10_000}


async def test_the_other_arms_of_a_split_keep_their_weights(control: Desk) -> None:
    """And their users: only those of the follower change release."""
    await control.do("services.split", "support", arms={"r1": 9000, "r3": 1000})
    async with control.store.read() as s:
        before = (await services.find(s, "support")).split
    await moved(control, 2)
    async with control.store.read() as s:
        after = (await services.find(s, "support")).split
    assert await arms(control) == {1: 9000, 4: 1000}
    swapped = [
        (first, last, 4 if release == 3 else release) for first, last, release in before.ranges
    ]
    assert (list(after.ranges), after.salt) == (swapped, before.salt)


async def test_a_release_that_names_a_version_stays_where_it_is(control: Desk) -> None:
    """Only followers move; a release on the same prompt version is left alone."""
    await control.do("releases.create", "", model="ops@1.0.0", prompt="terse@1")
    await control.do("services.create", "fixed", release="r4")
    await moved(control, 2)
    assert await arms(control, "fixed") == {4: 10_000}


async def test_a_follower_whose_successor_cannot_answer_stops_the_move(control: Desk) -> None:
    """The reason is the one that a split would be refused for."""
    await control.store.write(lambda s: models.mark_unloadable(s, 1, "torn", 5))
    refused = await moved(control, 2)
    assert refused.state is State.REFUSED
    assert "because support follows it: r4 cannot answer" in (refused.outcome or "")
    assert await labelled(control) == 1


async def test_what_cannot_be_followed_is_refused(control: Desk) -> None:
    """A version, a label that moves by itself, no prompt at all, a label that is not there."""
    for prompt, said in (
        ("terse@1", "A release follows a label"),
        (None, "A release follows a label"),
        ("terse:latest", "`latest` moves whenever a version is added"),
        ("terse:beta", "terse has no label beta"),
    ):
        asked: dict[str, Any] = {} if prompt is None else {"prompt": prompt}
        done = await control.do("releases.create", "", model="ops@1.0.0", follow=True, **asked)
        assert done.state is State.REFUSED
        assert said in (done.outcome or "")


weights = st.dictionaries(st.integers(1, 5), st.integers(0, 10_000), min_size=1, max_size=5)


@given(weights, st.dictionaries(st.integers(1, 5), st.integers(6, 8), max_size=3))
def test_replacing_releases_neither_loses_nor_makes_traffic(
    before: dict[int, int], successors: dict[int, int]
) -> None:
    """Every replaced arm with traffic is gone, and its weight is its successor's."""
    told = tuple(Arm(release=n, weight_bp=weight) for n, weight in sorted(before.items()))
    after = {arm.release: arm.weight_bp for arm in following.replaced(told, successors)}
    assert sum(after.values()) == sum(before.values())
    for release, weight in before.items():
        if release in successors and weight:
            assert release not in after
            assert after[successors[release]] >= weight
        else:
            assert after[release] >= weight


async def test_a_label_does_not_lead_to_a_retired_release(control: Desk) -> None:
    """Its move back would: it is refused as a whole, with the way to bring the release back."""
    await moved(control, 2)
    await control.do("releases.retire", "r3")
    refused = await moved(control, 1)
    assert refused.state is State.REFUSED
    assert "`paddock releases unretire r3` brings it back" in (refused.outcome or "")
    assert (await labelled(control), await arms(control)) == (2, {4: 10_000})
