"""What people ask of rollouts: each verb, its refusals, and two people at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from engine.control.intents import Intents
from engine.control.reconcile import Loop
from storage import intents, services
from storage.intents import State as IntentState
from storage.rollout_steps import AT_ONCE
from storage.rollouts import Phase, State, Why
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World

BEFORE = {STABLE: 10_000, CANDIDATE: 0}
AFTER = {STABLE: 0, CANDIDATE: 10_000}
APPLIED, REFUSED = IntentState.APPLIED, IntentState.REFUSED


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The box of a test."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


async def stepping(world: World, **arguments: object) -> None:
    """A rollout whose candidate has its first weight."""
    await world.start(**arguments)
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()


async def test_the_first_release_of_a_service_needs_no_steps(world: World) -> None:
    """The service is created with it; there is nothing to go back to."""
    done = await world.ask("rollouts.start", target="fresh", release="r1")
    assert done.state is APPLIED
    async with world.store.read() as s:
        assert [arm.weight_bp for arm in (await services.find(s, "fresh")).split.arms] == [10_000]
    back = await world.ask("rollouts.undo", target="fresh", rollout=1)
    assert (back.state, back.outcome) == (
        REFUSED, "r1 is the first release of fresh; there is nothing to go back to.",
    )  # fmt: skip


async def test_a_rollout_onto_itself_is_refused(world: World) -> None:
    """The stable release is named."""
    done = await world.ask("rollouts.start", release="r1")
    assert done.state is REFUSED
    assert (done.outcome or "").startswith("r1 is the stable release of support already.")


async def test_a_service_has_one_rollout_at_a_time(world: World) -> None:
    """The second is refused with the owner of the split, and so is a split by hand."""
    await world.start()
    for verb, arguments in (
        ("rollouts.start", {"release": "r2"}),
        ("services.split", {"arms": {"r1": 5000, "r2": 5000}}),
    ):
        done = await world.ask(verb, **arguments)
        assert done.state is REFUSED
        assert "rollout 1 owns the split of support" in (done.outcome or "")


async def test_a_frozen_service_starts_no_rollout(world: World) -> None:
    """With who froze it and why; nothing is half done."""
    await world.ask("services.freeze", reason="month end")
    done = await world.ask("rollouts.start", release="r2")
    assert done.state is REFUSED
    assert "month end" in (done.outcome or "")
    assert await world.weights() == {STABLE: 10_000}
    await world.ask("services.unfreeze")
    assert (await world.start()).id == 1


async def test_a_service_that_is_split_by_hand_starts_no_rollout(world: World) -> None:
    """There is no one release to go back to."""
    await world.ask("services.split", arms={"r1": 5000, "r2": 5000})
    done = await world.ask("rollouts.start", release="r2")
    assert "set it to one of them first" in (done.outcome or "")


async def test_steps_that_time_alone_would_lead_through_are_refused(world: World) -> None:
    """Between two weights there has to be an analysis or a person."""
    steps = [
        {"type": "set_weight", "weight_bp": 500},
        {"type": "pause", "duration_s": 60},
        {"type": "set_weight", "weight_bp": 10_000},
        {"type": "analysis"},
    ]
    done = await world.ask("rollouts.start", release="r2", steps=steps)
    assert done.state is REFUSED
    assert "step 1 needs an analysis" in (done.outcome or "")


async def test_a_person_pauses_and_lets_it_go_on_where_it_was(world: World) -> None:
    """Even while it loads; pausing twice changes once."""
    await world.start()
    assert (await world.ask("rollouts.pause", rollout=1)).state is APPLIED
    again = await world.ask("rollouts.pause", rollout=1)
    assert again.outcome == "Rollout 1 of support is paused already."
    await world.load(CANDIDATE)
    assert await world.settle() == []
    assert (await world.rollout()).phase is Phase.PAUSED
    await world.ask("rollouts.promote", rollout=1)
    assert (await world.rollout()).state is State.LOADING
    await world.settle()
    assert (await world.rollout()).state is State.SMOKING


async def test_promoting_skips_the_step_that_is_under_way(world: World) -> None:
    """The analysis at 5 % is left out, the weight of 50 % is next."""
    await stepping(world)
    done = await world.ask("rollouts.promote", rollout=1, reason="seen enough")
    assert done.outcome == "kim promoted it: seen enough. Step 3 of 6: 50 %."
    assert await world.weights() == {STABLE: 5_000, CANDIDATE: 5_000}


async def test_promoting_fully_needs_a_candidate_that_was_smoked(world: World) -> None:
    """Before that it is refused; after it all traffic moves at once, and undo stays near."""
    await world.start()
    early = await world.ask("rollouts.promote", rollout=1, full=True)
    assert (early.state, await world.weights()) == (REFUSED, BEFORE)
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()
    await world.ask("rollouts.promote", rollout=1, full=True)
    assert await world.weights() == AFTER
    assert (await world.rollout()).state is State.COMPLETED


async def test_of_two_who_promote_and_abort_at_once_one_wins_and_the_other_is_told(
    world: World,
) -> None:
    """In both orders, and of two promotions only the one that saw this step counts."""
    await stepping(world)
    seen = (await world.rollout()).version
    asked = [
        await world.accept("rollouts.abort", "sara", None, "", "support", {"rollout": 1}),
        await world.accept("rollouts.promote", "max", seen, "", "support", {"rollout": 1}),
    ]
    await Loop(world.store, [Intents()], now_us=lambda: world.now_us).settle()
    async with world.store.read() as s:
        abort, promote = [await intents.find(s, id) for id in asked]
    assert (abort.state, promote.state) == (APPLIED, REFUSED)
    assert "Rollout 1 of support is aborted: sara aborted it." in (promote.outcome or "")
    assert await world.weights() == BEFORE


async def test_two_who_promote_the_same_step_lead_on_once(world: World) -> None:
    """The refusal of the second says what changed."""
    await stepping(world)
    seen = (await world.rollout()).version
    first = await world.ask("rollouts.promote", rollout=1, expected_version=seen)
    second = await world.ask("rollouts.promote", by="max", rollout=1, expected_version=seen)
    assert (first.state, second.state) == (APPLIED, REFUSED)
    assert "changed since you looked: kim promoted it" in (second.outcome or "")
    assert await world.weights() == {STABLE: 5_000, CANDIDATE: 5_000}


async def test_an_aborted_rollout_is_retried_from_its_first_step(world: World) -> None:
    """With a new attempt, whose counts start at zero."""
    await stepping(world)
    await world.serve(60, failed=60)
    await world.settle()
    done = await world.ask("rollouts.retry", rollout=1)
    assert done.state is APPLIED
    again = await world.rollout()
    assert (again.state, again.attempt, again.step) == (State.LOADING, 2, None)
    await world.settle()
    await world.smoke()
    await world.settle()
    again = await world.rollout()
    assert (again.state, again.weight_bp) == (State.STEPPING, 500)


async def test_undo_is_one_split_while_the_old_release_is_loaded(world: World) -> None:
    """On the next request; asked twice, or by two people, it goes back once."""
    await stepping(world, strategy="blue_green")
    await world.ask("rollouts.promote", rollout=1, full=True)
    splits_before = (await world.service()).split.id
    first = await world.ask("rollouts.undo", rollout=1)
    second = await world.ask("rollouts.undo", by="max", rollout=1)
    assert first.outcome == "support is back on r1; kim undid rollout 1."
    assert second.outcome == "support is back from r2 already; no change."
    assert await world.weights() == BEFORE
    assert (await world.service()).split.id == splits_before + 1
    assert (await world.rollout()).state is State.UNDONE


async def test_undo_of_a_rollout_under_way_aborts_it(world: World) -> None:
    """And undoing again says that it is back."""
    await stepping(world)
    await world.ask("rollouts.undo", rollout=1)
    assert (await world.rollout()).why is Why.ABORTED
    again = await world.ask("rollouts.undo", rollout=1)
    assert (again.state, await world.weights()) == (APPLIED, BEFORE)


async def test_undo_works_on_a_frozen_service(world: World) -> None:
    """Going back is always allowed."""
    await stepping(world)
    await world.ask("rollouts.promote", rollout=1, full=True)
    await world.ask("services.freeze", reason="an incident")
    assert (await world.ask("rollouts.undo", rollout=1)).state is APPLIED
    assert await world.weights() == BEFORE


async def test_undo_loads_a_release_that_is_not_loaded_and_skips_the_steps(world: World) -> None:
    """It was healthy a short while ago: loaded, smoked, and switched to at once."""
    await stepping(world, rollback_window_s=0)
    await world.ask("rollouts.promote", rollout=1, full=True)
    assert await world.weights() == {CANDIDATE: 10_000}
    await world.crash(STABLE)
    await world.ask("rollouts.undo", rollout=1)
    again = await world.ask("rollouts.undo", by="max", rollout=1)
    assert "undoes it already" in (again.outcome or "")
    back = await world.rollout()
    assert (back.undoes, back.candidate, back.steps) == (1, STABLE, AT_ONCE)
    assert await world.weights() == {STABLE: 0, CANDIDATE: 10_000}
    await world.load(STABLE)
    await world.settle()
    await world.smoke()
    await world.settle()
    assert (await world.rollout()).state is State.COMPLETED
    assert (await world.weights())[STABLE] == 10_000


async def test_only_a_persons_own_steps_are_walked_on_the_way_back_to_a_healthy_release(
    world: World,
) -> None:
    """Those of the service's policy are skipped, as the steps of a strategy are."""
    await stepping(world)
    await world.ask("rollouts.promote", rollout=1, full=True)
    steps = [{"type": "set_weight", "weight_bp": 10_000}, {"type": "analysis"}]
    applied = await world.ask(
        "manifests.apply",
        arms=[{"weight_bp": 10_000, "release": {"model": "ops@1.0.0"}}],
        rollout={"steps": steps},
    )
    assert applied.state is APPLIED, applied.outcome
    back = await world.rollout()
    assert (back.candidate, len(back.steps)) == (STABLE, 1)
    await world.ask("rollouts.abort", rollout=back.id)
    for by_policy, walked in ((True, 1), (False, 2)):
        started = await world.ask("rollouts.start", release="r1", steps=steps, by_policy=by_policy)
        assert started.state is APPLIED, started.outcome
        back = await world.rollout()
        assert (back.candidate, len(back.steps)) == (STABLE, walked)
        await world.ask("rollouts.abort", rollout=back.id)


async def test_undo_goes_to_a_revision(world: World) -> None:
    """0 is the release before the first rollout; being there already changes nothing."""
    await stepping(world)
    await world.ask("rollouts.promote", rollout=1, full=True)
    here = await world.ask("rollouts.undo", to_revision=1)
    assert here.outcome == "support is on r2, revision 1, already; no change."
    done = await world.ask("rollouts.undo", to_revision=0)
    assert done.state is APPLIED
    assert (await world.rollout()).state is State.UNDONE  # as it is loaded, without a rollout
    assert await world.weights() == BEFORE
    missing = await world.ask("rollouts.undo", to_revision=9)
    assert "support has no revision 9" in (missing.outcome or "")
