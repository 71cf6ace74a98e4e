"""Rollouts walked from their start to their end, with a new controller for each act."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from engine.control.rollouts.decide import Do
from storage.requests import Class, Outcome
from storage.rollout_looks import Verdict
from storage.rollouts import Phase, State, Why
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.walks import AFTER, BEFORE, ENOUGH, smoked
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The box of a test."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


async def test_blue_green_switches_at_once_soaks_and_releases_the_old_release(
    world: World,
) -> None:
    """Loaded beside the stable release, smoked, switched, watched for an hour, released."""
    await world.start(strategy="blue_green")
    assert (await world.service()).owner == (await world.rollout()).owner
    await smoked(world)
    assert [plan.do for plan in await world.settle()] == [Do.ENTER, Do.ENTER]
    assert await world.weights() == AFTER
    world.wait(3599)
    await world.serve(ENOUGH)
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}
    world.wait(1)
    assert [plan.do for plan in await world.settle()] == [Do.ENTER, Do.COMPLETE]
    assert await world.weights() == {CANDIDATE: 10_000}
    rollout = await world.rollout()
    assert (rollout.state, rollout.phase) == (State.COMPLETED, Phase.HEALTHY)
    assert (await world.service()).owner is None
    assert [event.why for event in await world.events()] == [
        Why.STARTED, Why.LOADED, Why.SMOKED, Why.NEXT, Why.WAITED, Why.PASSED,
    ]  # fmt: skip


async def test_a_canary_gets_more_traffic_only_after_each_analysis(world: World) -> None:
    """5 %, 50 %, 100 %, each once the guards are shown to hold at the weight before."""
    await world.start()
    await smoked(world)
    seen = []
    for weight in (500, 5_000, 10_000):
        await world.settle()
        assert await world.weights() == {STABLE: 10_000 - weight, CANDIDATE: weight}
        world.wait(10)
        await world.serve(ENOUGH - 30)
        assert {plan.do for plan in await world.settle()} == {Do.RECORD}
        seen.append((await world.looks())[0].n)
        world.wait(10)
        await world.serve(30)
    await world.settle()
    assert (await world.rollout()).state is State.COMPLETED
    assert await world.weights() == AFTER  # the old release stays loaded for the window
    world.wait(3600)
    assert [plan.do for plan in await world.settle()] == [Do.RELEASE]
    assert await world.weights() == {CANDIDATE: 10_000}
    assert await world.settle() == []


async def test_a_candidate_that_errs_is_taken_back_in_the_transaction_of_the_move(
    world: World,
) -> None:
    """The abort, its split and its look are one; the candidate stays loaded for the window."""
    await world.start()
    await smoked(world)
    await world.settle()
    world.wait(30)
    await world.serve(40, failed=20)
    (abort,) = await world.settle()
    assert (abort.do, abort.why) == (Do.ABORT, Why.HARM)
    assert await world.weights() == BEFORE
    rollout = await world.rollout()
    assert (rollout.state, rollout.phase) == (State.ABORTED, Phase.DEGRADED)
    assert "error_rate<=1%: 20 of 40 (50.00%)" in rollout.sentence
    assert rollout.impact is not None
    assert (rollout.impact.requests, rollout.impact.failed, rollout.impact.keys) == (40, 20, 3)
    assert rollout.impact.found_us == 30 * worlds.SECOND_US
    look = next(each for each in await world.looks() if each.guard == "error_rate<=1%")
    assert (look.n, look.events, look.verdict) == (40, 20, Verdict.HARM)
    assert look.low > 0.01
    world.wait(3600)
    assert [plan.do for plan in await world.settle()] == [Do.RECOUNT, Do.RELEASE]
    assert await world.weights() == {STABLE: 10_000}


async def test_a_slow_candidate_is_taken_back(world: World) -> None:
    """p95 <= 2 s is broken where a fifth takes nine seconds."""
    await world.start(strategy="blue_green")
    await smoked(world)
    await world.settle()
    await world.serve(100, slow=20)
    (abort,) = await world.settle()
    assert abort.sentence.startswith("latency_p95<=2s: 20 of 100")


async def test_clients_that_dislike_the_answers_take_the_candidate_back(world: World) -> None:
    """Thumbs are counted by when the answers arrived and whose they are."""
    await world.start(strategy="blue_green")
    await world.serve(40, release=STABLE)
    await smoked(world)
    await world.settle()
    await world.serve(40)
    for number in range(41, 81):
        await world.thumb(-1, number)
    (abort,) = await world.settle()
    assert abort.sentence.startswith("thumbs_down<=30%: 40 of 40")


async def test_what_was_not_executed_is_no_evidence(world: World) -> None:
    """Cancelled, refused and invalid requests, and the box's own, neither harm nor pass."""
    await world.start()
    await smoked(world)
    await world.settle()
    for outcome in (Outcome.CANCELLED, Outcome.REFUSED, Outcome.INVALID):
        await world.serve(400, slow=400, outcome=outcome)
    await world.serve(400, failed=400, class_=Class.BACKGROUND)
    await world.serve(400, failed=400, release=STABLE)
    assert await world.settle() == []
    world.wait(3599)
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}  # minutes of stable's alone
    assert {(look.n, look.events) for look in await world.looks()} == {(0, 0)}
    assert (await world.rollout()).weight_bp == 500


async def test_silence_pauses_and_never_promotes(world: World) -> None:
    """Without a request the analysis ends without a result, and a person decides."""
    await world.start()
    await smoked(world)
    await world.settle()
    world.wait(3600)
    (hold,) = await world.settle()
    assert (hold.do, hold.why) == (Do.HOLD, Why.INCONCLUSIVE)
    assert "error_rate<=1% needs 299 more without an event" in hold.sentence
    world.wait(10 * 3600)
    await world.serve(ENOUGH)
    await world.settle()
    rollout = await world.rollout()
    assert (rollout.state, rollout.phase, rollout.weight_bp) == (State.PAUSED, Phase.PAUSED, 500)


async def test_harm_is_found_while_the_rollout_is_paused(world: World) -> None:
    """A pause keeps the weights; it does not keep a bad candidate."""
    await world.start()
    await smoked(world)
    await world.settle()
    assert (await world.ask("rollouts.pause", rollout=1)).outcome is not None
    await world.serve(30, failed=30)
    (abort,) = await world.settle()
    assert abort.why is Why.HARM
    assert await world.weights() == BEFORE


async def test_a_candidate_that_can_never_load_ends_the_rollout(world: World) -> None:
    """With the node's reason; it is not kept loaded."""
    await world.start()
    await world.crash(CANDIDATE, restarts=3)
    (abort, release) = await world.settle()
    assert (abort.why, release.do) == (Why.UNLOADABLE, Do.RELEASE)
    assert "has ended 3 times and is not ready" in (await world.rollout()).sentence
    assert await world.weights() == {STABLE: 10_000}


async def test_a_candidate_that_does_not_load_in_time_ends_the_rollout(world: World) -> None:
    """Half an hour by default; the deadline is kept in the row."""
    await world.start(load_timeout_s=60)
    world.wait(59)
    assert await world.settle() == []
    world.wait(1)
    assert (await world.settle())[0].why is Why.LATE


async def test_a_candidate_that_fails_its_smoke_requests_gets_no_traffic(world: World) -> None:
    """Not one request of a client."""
    await world.start()
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke(answered=False)
    (abort,) = await world.settle()
    assert (abort.why, await world.weights()) == (Why.SMOKE_FAILED, BEFORE)
    rollout = await world.rollout()
    assert rollout.exposed_at_us is None
    assert rollout.impact is None


async def test_a_candidate_whose_worker_restarts_gets_no_more_traffic_until_it_is_back(
    world: World,
) -> None:
    """It keeps what it has; the next step waits."""
    await world.start()
    await smoked(world)
    await world.settle()
    world.wait(10)
    await world.serve(ENOUGH)
    await world.crash(CANDIDATE)
    assert {plan.do for plan in await world.settle()} <= {Do.RECORD}
    assert (await world.rollout()).weight_bp == 500
    await world.load(CANDIDATE)
    await world.settle()
    assert (await world.rollout()).weight_bp == 5_000


async def test_a_frozen_service_keeps_its_weights_and_still_goes_back(world: World) -> None:
    """Forward waits until it is unfrozen; harm does not."""
    await world.start()
    await smoked(world)
    await world.settle()
    await world.ask("services.freeze", reason="an incident")
    world.wait(10)
    await world.serve(ENOUGH)
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}
    assert (await world.rollout()).weight_bp == 500
    world.wait(10)
    await world.serve(400, failed=400)
    assert [plan.why for plan in await world.settle()] == [Why.HARM]
    assert await world.weights() == BEFORE


async def test_who_goes_back_by_hand_ends_the_rollout(world: World) -> None:
    """`services undo` takes the split; the rollout notices and leaves it alone."""
    await world.start(strategy="blue_green")
    await smoked(world)
    await world.settle()
    rollout = await world.rollout()
    done = await world.ask("services.undo", to=rollout.base_split_id)
    assert "no longer owns the split" in (done.outcome or "")
    (abort,) = await world.settle()
    assert abort.why is Why.TAKEN
    assert await world.weights() == BEFORE
    assert (await world.rollout()).state is State.ABORTED


async def test_looks_are_kept_once_and_only_when_they_see_something_new(world: World) -> None:
    """At most every five seconds, and never the same counts twice."""
    await world.start()
    await smoked(world)
    await world.settle()
    for _ in range(4):
        world.wait(1)
        await world.serve(5)
        await world.settle()
    world.wait(60)
    await world.settle()
    await world.settle()
    counts = [look.n for look in await world.looks() if look.guard == "error_rate<=1%"]
    assert counts == [5, 20]
