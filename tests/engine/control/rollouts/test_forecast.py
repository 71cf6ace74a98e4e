"""What a plan promises, held against simulated rollouts and a service's recorded traffic."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from engine.control.rollouts import forecast, judge, rhythm
from engine.control.rollouts.planned import Asked
from engine.judging import exceedance
from storage import (
    job_steps,
    jobs,
    rollout_guards,
    rollout_plans,
    rollout_syntax,
    rollout_traffic,
)
from storage.home import clock
from storage.jobs import State
from storage.requests import Class
from storage.rollout_evidence import Count
from storage.rollout_guards import Guard, Measure
from storage.rollout_plans import RolloutPlan
from storage.rollout_steps import Step
from storage.rollout_traffic import HOUR_US, Traffic
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import STABLE
from tests.engine.jobs import run_jobs

SEED: Final = 20261127
DAY_US: Final = 24 * HOUR_US
NOW_US: Final = 20 * DAY_US
ERRORS: Final = Guard(measure=Measure.ERROR_RATE, allowed_bp=100)


def traffic(per_hour: int, *, events: int = 2, n: int = 2_000, nights: bool = False) -> Traffic:
    """A week of the same traffic, in the first half of each day only where it has nights."""
    hours = range((NOW_US - 7 * DAY_US) // HOUR_US, NOW_US // HOUR_US)
    by_hour = {hour: per_hour for hour in hours if not nights or hour % 24 < 12}
    return Traffic(
        begin_us=NOW_US - 7 * DAY_US, end_us=NOW_US, by_hour=by_hour, stable_n=n,
        counts=(Count(n, events),), latencies_us=tuple(range(100_000, 300_000, 1_000)),
    )  # fmt: skip


def planned(
    seen: Traffic,
    steps: str = "10, 100",
    now_us: int = NOW_US,
    guards: tuple[Guard, ...] = (ERRORS,),
) -> RolloutPlan:
    """The plan of a canary held to one guard."""
    asked = Asked(
        service="support", stable=1, candidate=2, strategy="canary", guards=guards,
        steps=rollout_syntax.parse_steps(steps.split(",")), memory="It fits.",
    )  # fmt: skip
    return forecast.plan(asked, seen, now_us)


def aborted(rate: float, requests: int, steps: tuple[Step, ...]) -> float:
    """The share of 2000 simulated rollouts whose harm gate is reached, asked at every request."""
    random = np.random.default_rng(SEED)
    seen = np.cumsum(random.random((2_000, requests)) < rate, axis=1)
    threshold = -math.log(judge.level((ERRORS,), steps))
    least, events = np.full(requests, requests + 1), 0
    for n in range(1, requests + 1):
        while events <= n and exceedance.log_harm(n, events, 0.01) < threshold:
            events += 1
        least[n - 1] = events
    return float((seen >= least).any(axis=1).mean())


def test_what_it_says_is_found_is_found_and_what_is_missed_is_missed() -> None:
    """In 80 of 100 simulated rollouts, within 3, by the gate and level of a real one."""
    steps = rollout_syntax.parse_steps(["10", "100"])
    guard = planned(traffic(3_600)).stages[0].guards[0]
    assert guard.found is not None
    assert guard.missed is not None
    assert aborted(guard.found, guard.cases, steps) == pytest.approx(0.8, abs=0.03)
    assert aborted(guard.missed, guard.cases, steps) == pytest.approx(0.2, abs=0.03)


def test_the_time_to_pass_is_that_of_the_requests_that_it_takes() -> None:
    """At 1 request a second and a weight of 10 %."""
    plan = planned(traffic(3_600), "10, analysis 9h, 100")
    guard = plan.stages[0].guards[0]
    assert guard.needs is not None
    assert guard.after_s == pytest.approx(guard.needs / 0.1)
    assert plan.stages[0].lasts_s == pytest.approx(guard.after_s)
    assert plan.enough


def test_traffic_that_is_too_low_is_named_with_what_would_do() -> None:
    """The step pauses without a result; a weight and a length that suffice are said, and do."""
    plan = planned(traffic(600, events=0))
    assert not plan.enough
    assert (plan.weakest, plan.stages[0].passes) == (1, False)
    assert plan.stages[0].requests == 60
    assert plan.verdict == (
        "The traffic is too low for step 1: 10 %, analysis of at most 1 h is expected to see "
        "60 requests and pause without a result. Better: a weight of 50 %, or an analysis of 5 h, "
        "or a replay or a shadow, which need no user."
    )
    assert planned(traffic(600, events=0), "50, 100").stages[0].passes
    assert planned(traffic(600, events=0), "10, analysis 5h, 100").enough


def test_a_mirror_is_planned_by_its_copies_and_webhooks_take_no_time() -> None:
    """At a request a second and 10 %: as long as its copies take, then the canary's weights."""
    asked = "webhook https://ci.example, mirror 10% 600 24h, 10, analysis 9h, 100"
    agreement = rollout_syntax.parse_guard("agreement>=80%")
    seen = msgspec.structs.replace(traffic(3_600), counts=(Count(2_000, 0), Count(2_000, 0)))
    plan = planned(seen, asked, guards=(ERRORS, agreement))
    mirror, first, _ = plan.stages
    assert (mirror.step, mirror.last, mirror.copies, mirror.weight_bp) == (1, 2, True, 0)
    assert mirror.lasts_s == pytest.approx(6_000)
    assert (mirror.passes, mirror.requests, mirror.comparisons) == (True, 600, ())
    assert [(each.guard, each.measured) for each in mirror.guards] == [
        (ERRORS.name, 0.0), (agreement.name, None),
    ]  # fmt: skip
    assert [each.guard for each in first.guards] == [ERRORS.name]
    slow = planned(traffic(600, events=0), "mirror 1% 600 1h, 50, analysis 9h, 100").verdict
    assert "The traffic is too low for step 1: mirror 1 %" in slow
    assert "Better: a share of 100 %, or a mirror of 100 h, or a replay." in slow


def test_a_service_without_requests_and_one_whose_stable_breaks_the_guard_are_told() -> None:
    """Neither is led to its end by waiting."""
    silent = planned(traffic(0, events=0, n=0))
    assert (silent.enough, silent.weakest) == (False, None)
    assert "no request within a week" in silent.verdict
    broken = planned(traffic(3_600, events=60))
    assert not broken.enough
    assert "r1 itself does not keep to error_rate<=1% (3.00% measured)" in broken.verdict


def test_a_step_that_begins_at_night_waits_for_the_day() -> None:
    """Traffic in the first half of the day only: the same step takes longer in the evening."""
    seen = traffic(3_600, nights=True)
    steps = "10, analysis 20h, 100"
    noon = planned(seen, steps, NOW_US).stages[0].lasts_s
    evening = planned(seen, steps, NOW_US + 13 * HOUR_US).stages[0].lasts_s
    assert evening == pytest.approx(noon + 11 * 3_600)
    beat = rhythm.of(seen)
    assert beat.arrivals(0, 7 * 86_400) == pytest.approx(seen.requests)
    assert beat.time_for(beat.arrivals(5_000, 90_000), 5_000) == pytest.approx(90_000, rel=0.6)


async def test_the_traffic_is_that_of_clients_in_the_week_before(tmp_path: Path) -> None:
    """By hour, and by guard on the stable release; the box's own requests are left out."""
    async with worlds.made(tmp_path / "home") as world:
        world.now_us = NOW_US
        await world.serve(30, release=STABLE, failed=3)
        world.wait(3_600)
        await world.serve(10, release=STABLE, slow=2)
        await world.serve(5, release=STABLE, class_=Class.BACKGROUND)
        async with world.store.read() as s:
            seen = await rollout_traffic.read(
                s, "support", STABLE, rollout_guards.GUARDS, world.now_us
            )
    assert seen.begin_us == NOW_US
    assert dict(seen.by_hour) == {480: 30, 481: 10}
    assert seen.stable_n == 40
    assert seen.counts == (Count(40, 3), Count(40, 5), Count())
    assert len(seen.latencies_us) == 37


async def test_planning_changes_nothing_and_ends_the_intent_with_its_verdict(
    tmp_path: Path,
) -> None:
    """The job runs for real, on the traffic in the store; its result is the plan."""
    async with worlds.made(tmp_path / "home") as world:
        world.now_us = clock.now_us() - 2 * HOUR_US
        await world.serve(5_000, release=STABLE)
        before = await world.service()
        asked = await world.ask("rollouts.plan", release="r2", by="viewer")
        (job,) = await run_jobs.run(world.store)
        assert (job.state, job.kind) == (State.SUCCEEDED, rollout_plans.JOB)
        async with world.store.read() as s:
            (step, _) = await job_steps.of(s, job.id)
            of_intent = await jobs.of_intent(s, asked.id)
        plan = msgspec.convert(step.result, RolloutPlan)
        assert of_intent is not None
        assert job.reason == plan.verdict
        assert plan.traffic.requests == 5_000
        assert len(plan.stages) == 3
        assert await world.service() == before
