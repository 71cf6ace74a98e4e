"""A/B tests walked from their start to their end, with a new controller for each act."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.control.ab_tests.decide import Do
from storage import ab_test_events, ab_test_units, ab_tests, intents, prompts, services
from storage.ab_test_looks import Verdict
from storage.ab_tests import State, Why
from storage.requests import Outcome
from storage.store import Session
from tests.engine.control.ab_tests import worlds
from tests.engine.control.ab_tests.worlds import CONTROL, TREATMENT, World
from tests.storage import fixtures

HALVES = {CONTROL: 5_000, TREATMENT: 5_000}
DAY_S = 86_400


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The box of a test."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


def users(count: int, first: int = 0) -> list[str]:
    """People by name."""
    return [f"user-{number}" for number in range(first, first + count)]


def likes_of(shares: dict[int, float], seed: int = 7) -> Callable[[str, int], bool]:
    """Whether a user likes an answer, by the release that gave it."""
    return lambda user, release: random.Random(f"{seed} {user}").random() < shares[release]


async def test_arms_load_without_traffic_and_then_users_are_assigned_anew(world: World) -> None:
    """r2 has weight 0 until it can answer; then the split is the test's, under its own salt."""
    before = (await world.service()).split
    test = await world.begin()
    assert (test.state, test.control) == (State.LOADING, CONTROL)
    assert await world.weights() == {CONTROL: 10_000, TREATMENT: 0}
    assert await world.settle() == []
    await world.visit(users(50))
    await world.load(TREATMENT)
    assert [plan.do for plan in await world.settle()] == [Do.EXPOSE]
    service = await world.service()
    assert await world.weights() == HALVES
    assert service.owner == test.owner
    assert (service.split.salt == before.salt, service.split.salt) == (False, test.salt)
    assert await world.units() == []  # whoever came before the split is not of the test


async def test_a_better_treatment_wins_stays_loaded_and_is_promoted_by_a_person(
    world: World,
) -> None:
    """The control has the traffic again with the users it had, until a person promotes."""
    before = (await world.service()).split
    await world.run()
    seen = await world.visit(users(1_000))
    await world.rate(seen, likes_of({CONTROL: 0.5, TREATMENT: 0.8}))
    *_, last = await world.settle()
    assert (last.do, last.why) == (Do.CROWN, Why.WINNER)
    test = await world.test()
    assert (test.state, test.winner) == (State.ENDED, TREATMENT)
    look = (await world.verdicts())["thumbs_up", TREATMENT]
    assert (look.verdict, look.n) == (Verdict.BETTER, 1_000)
    assert look.low is not None
    assert look.low > 0.05
    assert "paddock ab-tests promote support" in test.sentence
    service = await world.service()
    assert await world.weights() == {CONTROL: 10_000, TREATMENT: 0}
    assert (service.owner, service.split.salt) == (None, before.salt)
    done = await world.ask("ab_tests.promote", ab_test=test.id, expected_version=test.version)
    assert done.outcome == "support: r2 100 % (before: r1 100 %, r2 0 %)."
    assert await world.weights() == {CONTROL: 0, TREATMENT: 10_000}
    assert (await world.test()).state is State.PROMOTED
    again = await world.ask("ab_tests.promote", ab_test=test.id, expected_version=test.version)
    assert again.state is intents.State.REFUSED  # the second of two people looks again


async def test_a_winner_is_promoted_and_its_prompt_labelled_if_that_was_asked(
    world: World,
) -> None:
    """The split moves in the transaction that ends the test, and the label is asked for there."""

    async def prompted(s: Session) -> tuple[int, int]:
        weights = await fixtures.model(s, model="chat")
        both = []
        for text in ("Be brief.", "Be kind."):
            version = await fixtures.prompt(s, text)
            both.append((await fixtures.release(s, weights, prompt_version=version)).number)
        await services.set_split(
            s, service="support", arms=[services.Arm(release=both[0], weight_bp=10_000)],
            expected_version=None, actor="sara", at_us=5,
        )  # fmt: skip
        return both[0], both[1]

    first, second = await world.store.write(prompted)
    await world.load(first)
    arms = {f"r{first}": 5_000, f"r{second}": 5_000}
    await world.begin(arms=arms, promotes=True, label="production")
    await world.settle()
    assert (await world.test()).state is State.RUNNING  # both are on one worker
    seen = await world.visit(users(1_000))
    await world.rate(seen, likes_of({first: 0.5, second: 0.8}))
    *_, last = await world.settle()
    assert last.do is Do.PROMOTE
    assert await world.weights() == {first: 0, second: 10_000}
    await world.obey()
    async with world.store.read() as s:
        assert await prompts.labels(s, "terse") == {"production": 2}
        asked = (await intents.tail(s, limit=1))[0]
    assert (asked.verb, asked.actor, asked.state) == (
        "prompts.label", "kim", intents.State.APPLIED,
    )  # fmt: skip


async def test_without_a_difference_that_matters_the_test_ends_and_says_so(world: World) -> None:
    """The interval excludes it on both sides."""
    await world.run(["thumbs_up:30%"])
    for first in (0, 1_000):
        seen = await world.visit(users(1_000, first))
        await world.rate(seen, likes_of({CONTROL: 0.6, TREATMENT: 0.6}))
        await world.settle()
        world.wait(60)
    test = await world.test()
    assert (test.state, test.why, test.winner) == (State.ENDED, Why.NO_DIFFERENCE, None)
    assert await world.weights() == {CONTROL: 10_000}


async def test_a_worse_treatment_leaves_the_control_as_the_winner(world: World) -> None:
    """The way back is the split before the test."""
    await world.run()
    seen = await world.visit(users(1_000))
    await world.rate(seen, likes_of({CONTROL: 0.8, TREATMENT: 0.5}))
    await world.settle()
    test = await world.test()
    assert (test.why, test.winner) == (Why.CONTROL, CONTROL)
    assert await world.weights() == {CONTROL: 10_000}


async def test_silence_ends_a_test_without_a_winner(world: World) -> None:
    """At its longest duration it is inconclusive, and says what was missing."""
    await world.run(at_most_s=3_600)
    seen = await world.visit(users(20))
    await world.rate(seen, likes_of({CONTROL: 0.0, TREATMENT: 1.0}))
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}
    world.wait(3_600)
    await world.settle()
    test = await world.test()
    assert (test.state, test.why) == (State.ENDED, Why.INCONCLUSIVE)
    assert "and 200 are wanted" in test.sentence
    assert await world.weights() == {CONTROL: 10_000}


async def test_latency_has_a_last_look_at_the_median_with_outliers(world: World) -> None:
    """A shift of 150 ms among outliers of a minute, which no mean of 600 shows."""

    def took(user: str, release: int) -> int:
        noise = random.Random(user)
        outlier = 60_000_000 if noise.random() < 0.02 else 0
        return 400_000 + noise.randrange(100_000) - (release - 1) * 150_000 + outlier

    await world.run(["latency:50ms"], at_most_s=3_600)
    await world.visit(users(600), latency_us=took)
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}
    assert (await world.verdicts())["latency", TREATMENT].verdict is Verdict.RUNNING
    world.wait(3_600)
    await world.settle()
    look = (await world.verdicts())["latency", TREATMENT]
    assert (look.verdict, look.n) == (Verdict.BETTER, 600)
    assert look.sentence.startswith("median latency: r2 against r1 -1")
    assert (await world.test()).winner == TREATMENT


async def test_a_treatment_that_errs_is_taken_back_at_once(world: World) -> None:
    """Long before there are units enough for a verdict, and on a frozen service, too."""
    await world.run()
    await world.ask("services.freeze", reason="an incident")
    broken = lambda _user, release: Outcome.FAILED if release == TREATMENT else Outcome.OK  # noqa: E731
    await world.visit(users(30), outcome=broken)
    (last,) = await world.settle()
    assert (last.do, last.why) == (Do.RETURN, Why.HARM)
    assert await world.weights() == {CONTROL: 10_000}
    test = await world.test()
    assert (test.state, test.winner) == (State.ENDED, None)


async def test_units_that_do_not_follow_the_weights_never_crown_a_winner(world: World) -> None:
    """The verdict is there, the split is not healthy; at the end it is inconclusive."""
    await world.run(promotes=True)
    likes = likes_of({CONTROL: 0.5, TREATMENT: 0.9})
    for first in range(0, 1_200, 300):  # both arms get people all the time
        await world.rate(await world.visit(users(225, first), to=TREATMENT), likes)
        await world.rate(await world.visit(users(75, first + 225), to=CONTROL), likes)
        await world.settle()
        world.wait(10)
    test = await world.test()
    assert (test.state, test.why) == (State.UNHEALTHY, Why.MISMATCH)
    assert "paddock ab-tests stop support" in test.sentence
    looks = await world.verdicts()
    assert looks["thumbs_up", TREATMENT].verdict is Verdict.BETTER
    assert looks["split", 0].verdict is Verdict.MISMATCH
    world.wait(14 * DAY_S)
    await world.settle()
    test = await world.test()
    assert (test.state, test.why, test.winner) == (State.ENDED, Why.INCONCLUSIVE, None)
    assert await world.weights() == {CONTROL: 10_000}


async def test_undo_takes_the_split_and_the_test_ends(world: World) -> None:
    """What a person set stays; nothing more is counted."""
    test = await world.run()
    await world.visit(users(40))
    assert test.base_split_id is not None
    await world.ask("services.undo", to=test.base_split_id)
    (last,) = await world.settle()
    assert (last.do, last.why) == (Do.LEAVE, Why.TAKEN)
    assert await world.weights() == {CONTROL: 10_000}
    assert len(await world.units()) == 40
    await world.visit(users(40, 40))
    assert await world.settle() == []
    assert len(await world.units()) == 40
    late = await world.ask("ab_tests.promote", ab_test=test.id, release="r2")
    assert late.state is intents.State.REFUSED


async def test_a_result_waits_while_the_service_is_frozen(world: World) -> None:
    """Nothing changes a frozen service but the way back from harm."""
    await world.run()
    seen = await world.visit(users(1_000))
    await world.rate(seen, likes_of({CONTROL: 0.5, TREATMENT: 0.8}))
    await world.ask("services.freeze", reason="an incident")
    assert {plan.do for plan in await world.settle()} == {Do.RECORD}
    assert await world.weights() == HALVES
    await world.ask("services.unfreeze")
    assert [plan.do for plan in await world.settle()] == [Do.CROWN]


async def test_a_unit_counts_once_in_the_arm_that_it_saw_first(world: World) -> None:
    """Its first answer and its first rating, however often it comes back."""
    await world.run(["thumbs_up", "latency", "error_rate"])
    for latency in (100_000, 900_000):
        seen = await world.visit(["kim"] * 3, latency_us=lambda _u, _r, us=latency: us)  # type: ignore[misc]
        await world.rate(seen, lambda _user, _release, us=latency: us < 500_000)  # type: ignore[misc]
        await world.settle()
        world.wait(10)
    other = CONTROL if seen["kim"] == TREATMENT else TREATMENT
    await world.visit(["kim"], to=other)
    await world.settle()
    (unit,) = await world.units()
    assert (unit.release, unit.latency_us, unit.score) == (seen["kim"], 100_000, 1)
    assert "kim" not in unit.unit
    async with world.store.read() as s:
        evidence = await ab_test_units.stored(s, (await world.test()).id)
    arm = evidence.of(seen["kim"])
    assert (arm.units, arm.requests) == (1, 6)
    assert [count.n for count in arm.rates] == [1, 0, 1]
    assert arm.values[1].n == 1
    assert evidence.of(other).units == 0


async def test_nothing_else_changes_a_split_that_a_test_owns(world: World) -> None:
    """By hand, by a rollout, by another test: each refusal says who owns it and what to do."""
    test = await world.run()
    asked = [
        await world.ask("services.split", arms={"r1": 9_000, "r2": 1_000}),
        await world.ask("rollouts.start", release="r2"),
        await world.ask("ab_tests.start", arms=worlds.ARMS, goals=[worlds.goal("latency")]),
    ]
    for refused in asked:
        assert refused.state is intents.State.REFUSED
        assert refused.outcome is not None
        assert "A/B test 1 owns the split of support; stop it first" in refused.outcome
    assert await world.weights() == HALVES
    stopped = await world.ask("ab_tests.stop", ab_test=test.id, reason="enough")
    assert stopped.outcome == "A/B test 1 of support is stopped; all traffic of support is on r1."
    again = await world.ask("ab_tests.stop", ab_test=test.id)
    assert again.outcome == "A/B test 1 of support has ended already: kim stopped it: enough."
    assert await world.weights() == {CONTROL: 10_000}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"arms": {"r2": 5_000, "r9": 5_000}}, "There is no release r9"),
        ({"arms": {"r2": 10_000 - 1, "r1": 1}, "label": "production", "promotes": True},
         "The arms have no prompt for production"),
        ({"arms": {"r1": 4_000, "r2": 5_000}}, "add up to 9000"),
        ({"goals": []}, "goals"),
        ({"label": "production"}, "a label moves only if the winner is promoted"),
        ({"goals": [worlds.goal("latency"), worlds.goal("latency:up")]}, "named by two goals"),
    ],
)  # fmt: skip
async def test_a_test_that_cannot_begin_is_refused_with_what_to_change(
    world: World, arguments: dict[str, object], said: str
) -> None:
    """Before anything is loaded or taken."""
    asked: dict[str, Any] = {"arms": worlds.ARMS, "goals": [worlds.goal("thumbs_up")]} | arguments
    done = await world.ask("ab_tests.start", **asked)
    assert done.state in {intents.State.REFUSED, intents.State.FAILED}
    assert said in (done.outcome or "")
    assert (await world.service()).owner is None


async def test_an_arm_that_does_not_load_ends_the_test_before_it_began(world: World) -> None:
    """With the split before it; the deadline outlives a control that is killed."""
    test = await world.begin(load_timeout_s=600)
    world.wait(599)
    assert await world.settle() == []
    world.wait(1)
    (last,) = await world.settle()
    assert (last.do, last.why) == (Do.RETURN, Why.LATE)
    assert "did not" not in last.sentence
    assert "r2 could not begin within 600 s" in last.sentence
    assert await world.weights() == {CONTROL: 10_000}
    async with world.store.read() as s:
        events = await ab_test_events.of(s, test.id)
    assert [event.after for event in events] == [State.LOADING, State.ENDED]


async def test_the_exposure_log_is_pruned_after_the_end_and_the_result_stays(
    world: World,
) -> None:
    """Units of a running test stay, however old."""
    test = await world.run()
    await world.visit(users(30))
    await world.settle()
    later = world.now_us + 365 * DAY_S * 1_000_000
    assert await world.store.write(lambda s: ab_test_units.prune(s, later)) == 0
    await world.ask("ab_tests.stop", ab_test=test.id)
    assert await world.store.write(lambda s: ab_test_units.prune(s, later, limit=20)) == 20
    assert await world.store.write(lambda s: ab_test_units.prune(s, later)) == 10
    assert await world.units() == []
    looks = await world.verdicts()
    assert looks["split", 0].n == 30
    async with world.store.read() as s:
        assert (await ab_tests.find(s, test.id)).state is State.ENDED
