"""The candidate beside stable: harm, the load of the box, and failed measurements."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import pytest_asyncio

from engine.control.rollouts.decide import Do
from storage import requests, rollout_contrasts
from storage.requests import Outcome
from storage.rollout_guards import Guard, Measure
from storage.rollout_looks import Verdict
from storage.rollouts import State, Why
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World

LOOSE: Final = msgspec.to_builtins((Guard(measure=Measure.ERROR_RATE, allowed_bp=2000),))
STEPS: Final = [
    {"type": "set_weight", "weight_bp": 5000},
    {"type": "pause", "duration_s": 1800},
    {"type": "analysis"},
    {"type": "set_weight", "weight_bp": 10_000},
    {"type": "analysis"},
]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A canary at 50 % that is held to a loose guard: at most 20 % errors."""
    async with worlds.made(tmp_path / "home") as made:
        await made.start(steps=STEPS, guards=LOOSE)
        await made.load(CANDIDATE)
        await made.settle()
        await made.smoke()
        await made.settle()
        yield made


async def minutes(world: World, count: int, *, candidate: int, stable: int) -> None:
    """Each minute 40 requests to each arm, so many of which fail."""
    for _ in range(count):
        await world.serve(40, failed=candidate)
        await world.serve(40, failed=stable, release=STABLE)
        world.wait(60)
    world.wait(60)


async def test_a_candidate_worse_than_stable_is_taken_back_within_its_guards(world: World) -> None:
    """10 % of its requests fail and 20 % are allowed, but of stable's none does."""
    await minutes(world, 8, candidate=4, stable=0)
    (abort,) = await world.settle()
    assert (abort.do, abort.why) == (Do.ABORT, Why.HARM)
    assert abort.sentence.startswith(
        "error_rate against stable: 32 of 320 requests on the candidate, 0 of 320 on stable"
    )
    assert abort.sentence.endswith("worse.")
    assert {look.guard for look in await world.looks() if look.verdict is Verdict.HARM} == {
        "error_rate against stable"
    }


async def test_what_disturbs_both_arms_alike_is_no_harm(world: World) -> None:
    """The box is overloaded for a while: a tenth fails on either arm."""
    await minutes(world, 8, candidate=4, stable=4)
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}
    (look,) = [look for look in await world.looks() if "against" in look.guard]
    assert (look.verdict, look.n, look.events) == (Verdict.RUNNING, 320, 32)


async def test_a_broken_guard_is_told_with_stable_beside_it(world: World) -> None:
    """The box was overloaded before: the candidate exceeds its guard, and so does stable."""
    await minutes(world, 3, candidate=20, stable=20)
    (abort,) = await world.settle()
    assert (abort.do, abort.why) == (Do.ABORT, Why.HARM)
    assert abort.sentence.startswith("error_rate<=20%: 60 of 120 (50.00%): more than is allowed")
    assert "error_rate against stable: 60 of 120 requests on the candidate, 60 of 120 on" in (
        abort.sentence
    )


async def test_a_block_is_counted_once_and_only_when_its_requests_had_time_to_end(
    world: World,
) -> None:
    """A request that arrived in a minute that was counted is left out, of both arms alike."""
    began = world.now_us
    await minutes(world, 2, candidate=1, stable=0)
    await world.settle()
    await world.serve(5, failed=5, at_us=began)
    world.wait(10)
    await world.settle()
    evidence = await world.evidence()
    assert [(each.candidate_n, each.candidate, each.stable_n) for each in evidence.blocks] == [
        (40, (1,), 40), (40, (1,), 40),
    ]  # fmt: skip
    edges = [rollout_contrasts._offset(number) for number in (0, 1, 60, 61, 204, 205)]
    assert [edge // 60_000_000 for edge in edges] == [0, 1, 60, 70, 1500, 1560]


async def test_a_slower_candidate_is_taken_back_at_the_end_of_its_step(world: World) -> None:
    """Three times stable's latency, which no guard forbids; compared when the guards hold."""
    await world.serve(200, latency_us=600_000)
    await world.serve(200, release=STABLE)
    world.wait(1800)
    (_, abort) = await world.settle()
    assert (abort.do, abort.why) == (Do.ABORT, Why.HARM)
    assert abort.sentence.startswith(
        "latency against stable, prompts under 128 tokens: +400 ms against stable"
    )


async def test_a_candidate_as_fast_as_stable_goes_on_with_the_comparison_kept(
    world: World,
) -> None:
    """The look of the end of the step is recorded with the move."""
    await world.serve(200)
    await world.serve(200, release=STABLE)
    world.wait(1800)
    plans = await world.settle()
    assert Why.PASSED in {plan.why for plan in plans}
    assert (await world.rollout()).weight_bp == 10_000
    ends = {look.guard: look.verdict for look in await world.looks() if "sample" in look.guard}
    assert ends == {"sample ratio": Verdict.RUNNING}  # the requests name no unit


async def test_a_split_that_is_not_as_it_was_set_is_never_promoted_on(world: World) -> None:
    """Users go to one arm only: the measurement failed, the rollout pauses, a person decides."""
    for user in range(300):
        await world.serve(1, unit=f"u{user}")
    await world.serve(5, release=STABLE, unit="v")
    world.wait(1800)
    await world.settle()
    assert (await world.rollout()).weight_bp == 5_000
    world.wait(3600)
    plans = await world.settle()
    assert (plans[-1].do, plans[-1].why) == (Do.HOLD, Why.UNMEASURED)
    assert "sample ratio: arm r" in plans[-1].sentence
    assert (await world.rollout()).state is State.PAUSED


async def test_who_met_the_candidate_is_counted_again_when_the_last_requests_have_ended(
    world: World,
) -> None:
    """Named users once each, unnamed requests as none; found by the arrival of the requests."""
    for user in range(3):
        await world.serve(20, failed=20, unit=f"u{user}")
    await world.serve(20, failed=20, unit=requests.UNNAMED)
    world.wait(1)
    await world.settle()
    first = (await world.rollout()).impact
    assert first is not None
    assert (first.requests, first.users, first.final) == (80, 3, False)
    await world.serve(1, unit="late", at_us=world.now_us - 500_000)
    await world.serve(1, outcome=Outcome.CANCELLED)
    world.wait(900)
    assert [plan.do for plan in await world.settle()] == [Do.RECOUNT]
    final = (await world.rollout()).impact
    assert final is not None
    assert (final.requests, final.users, final.final) == (81, 4, True)
    assert final.found_us == first.found_us
    assert await world.settle() == []
