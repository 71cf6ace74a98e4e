"""Stable since the candidate came, against stable before: the box as a whole, and drifts."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio

from engine.control.rollouts.decide import Do, Plan
from storage import requests, rollout_baselines
from storage.requests import Outcome
from storage.rollout_guards import Guard, Measure
from storage.rollout_looks import Verdict
from storage.rollouts import State, Why
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, SECOND_US, STABLE, World

LOOSE: Final = msgspec.to_builtins((Guard(measure=Measure.ERROR_RATE, allowed_bp=2000),))
SPLIT: Final[list[dict[str, Any]]] = [
    {"type": "set_weight", "weight_bp": 5000},
    {"type": "pause", "duration_s": 600},
    {"type": "analysis"},
    {"type": "set_weight", "weight_bp": 10_000},
    {"type": "pause"},
]
COPIES: Final[list[dict[str, Any]]] = [
    {"type": "mirror", "at_least": 20},
    {"type": "pause"},
    {"type": "set_weight", "weight_bp": 10_000},
    {"type": "pause"},
]
BEFORE_S: Final = rollout_baselines.BEFORE_US // 1_000_000
EVERY_S: Final = 10
SLOW_MS: Final = 600

Latency = Callable[[int], float]
"""Milliseconds by the second, counted from the start of the rollout."""


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A service on r1 alone."""
    async with worlds.made(tmp_path / "home") as made:
        made.now_us += 10 * rollout_baselines.BEFORE_US
        yield made


async def answer(
    world: World, begin_s: int, seconds: int, latency: Latency, *releases: int, per: int = 2
) -> None:
    """So many answers of each of these releases every ten seconds; time passes."""
    chance = random.Random(begin_s)
    began_us = world.now_us
    world.wait(seconds)
    rows = [
        requests.Request(
            id=f"req_{begin_s}_{after}_{release}_{number}", service="support", release=release,
            at_us=began_us + after * SECOND_US, worker="w", endpoint="chat", key_id=1,
            tenant="acme", outcome=Outcome.OK, ttft_us=10_000,
            latency_us=int(latency(begin_s + after) * chance.lognormvariate(0, 0.3) * 1000),
        )
        for after in range(0, seconds, EVERY_S)
        for release in releases
        for number in range(per)
    ]  # fmt: skip
    await world.store.write(lambda s: requests.record(s, rows))


async def lead(world: World, steps: list[dict[str, Any]], strategy: str = "canary") -> None:
    """Start a rollout and lead it to its first step with traffic."""
    await world.start(steps=steps, guards=LOOSE, strategy=strategy)
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()


async def walked(world: World, latency: Latency, *, per: int = 1) -> list[Plan]:
    """Half an hour of stable, then ten minutes of both arms, equally fast at each moment."""
    await answer(world, -BEFORE_S, BEFORE_S, latency, STABLE)
    await lead(world, SPLIT)
    await answer(world, 0, 600, latency, STABLE, CANDIDATE, per=per)
    return await world.settle()


async def looked(world: World) -> dict[str, Verdict]:
    """The last verdict of each comparison in time."""
    return {
        look.guard: look.verdict
        for look in await world.looks()
        if "stable" in look.guard and "rate" not in look.guard
    }


async def test_a_candidate_that_slows_down_the_whole_box_is_taken_back(world: World) -> None:
    """Beside stable it looks innocent: both arms take three times as long since it came."""
    (*_, abort) = await walked(world, lambda at: 200 if at < 0 else SLOW_MS)
    assert (abort.do, abort.why) == (Do.ABORT, Why.HARM)
    assert abort.sentence.startswith("r1 stable against before, prompts under 128 tokens: +")
    assert abort.sentence.endswith(": worse.")
    assert (await looked(world))["latency against stable, prompts under 128 tokens"] in {
        Verdict.RUNNING, Verdict.HOLDS,
    }  # fmt: skip
    assert await world.weights() == {STABLE: 10_000, CANDIDATE: 0}


async def test_a_drift_that_began_before_is_not_blamed_on_the_candidate(world: World) -> None:
    """Twice as slow as at the start of the half hour before, and still getting slower."""
    plans = await walked(world, lambda at: 200 + (at + BEFORE_S) / 10)
    assert Why.HARM not in {plan.why for plan in plans}
    assert (await world.rollout()).weight_bp == 10_000
    found = (await looked(world))["stable against before, prompts under 128 tokens"]
    assert found is not Verdict.HARM


async def test_a_box_as_fast_as_before_goes_on_with_the_look_kept(world: World) -> None:
    """Shown to be no harm."""
    plans = await walked(world, lambda _: 200)
    assert Why.PASSED in {plan.why for plan in plans}
    found = (await looked(world))["stable against before, prompts under 128 tokens"]
    assert found is Verdict.HOLDS


async def test_a_service_that_got_busier_is_not_compared_with_before(world: World) -> None:
    """Three times the requests make it slower, too; the look says so."""
    plans = await walked(world, lambda at: 200 if at < 0 else SLOW_MS, per=3)
    assert Why.HARM not in {plan.why for plan in plans}
    (look,) = [each for each in await world.looks() if each.guard == "stable against before"]
    assert look.sentence == (
        "stable against before: not compared, the service is busier: 0.2 requests/s before, "
        "0.6 since"
    )


@pytest.mark.parametrize(("during_ms", "harm"), [(200, False), (SLOW_MS, True)])
async def test_copies_that_slow_down_the_users_take_the_shadow_back(
    world: World, during_ms: float, *, harm: bool
) -> None:
    """No user meets the candidate, but all of them wait longer."""
    await answer(world, -BEFORE_S, BEFORE_S, lambda _: 200, STABLE)
    await lead(world, COPIES, "shadow")
    await answer(world, 0, 300, lambda _: during_ms, STABLE)
    await world.mirror(40)
    (*_, last) = await world.settle()
    rollout = await world.rollout()
    if harm:
        assert (last.do, last.why) == (Do.ABORT, Why.HARM)
        assert last.sentence.startswith("r1 stable against before")
    else:
        assert (rollout.state, rollout.why) == (State.PAUSED, Why.ASKED)


async def test_a_service_without_a_past_is_compared_with_nothing(world: World) -> None:
    """Its first requests came with the rollout."""
    await lead(world, SPLIT)
    await answer(world, 0, 600, lambda _: SLOW_MS, STABLE, CANDIDATE)
    plans = await world.settle()
    assert Why.PASSED in {plan.why for plan in plans}
    assert not any("before" in name for name in await looked(world))
