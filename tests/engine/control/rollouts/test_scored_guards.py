"""Guards on online scores and on what clients called wrong: of rollouts and of A/B tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio

from engine.control.ab_tests import count
from engine.control.rollouts import decide as rollout_decide
from engine.control.rollouts import facts as rollout_facts
from engine.control.rollouts import planned
from engine.control.rollouts.decide import Do
from engine.judging import online_checks
from storage import (
    ab_test_units,
    feedback,
    intents,
    online_scores,
    rollout_guards,
    rollout_syntax,
    rollout_traffic,
    services,
)
from storage.ab_test_evidence import Count
from storage.ab_test_units import Fresh
from storage.online_scores import Rate, Scored
from storage.rollout_guards import Measure
from storage.rollout_looks import Verdict
from storage.rollouts import State, Why
from storage.store import Session
from tests.engine.control.ab_tests import fakes
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World

CANARY: Final = msgspec.to_builtins(rollout_syntax.parse_steps(["5%", "100%"]))


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The box of a test."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


def guards(*typed: str) -> list[dict[str, Any]]:
    """Guards as the verbs take them."""
    found: list[dict[str, Any]] = msgspec.to_builtins(
        [rollout_syntax.parse_guard(each) for each in typed]
    )
    return found


async def scoring(world: World, share_bp: int = 10_000) -> None:
    """Texts are recorded, and a share of the answers is scored."""

    async def work(s: Session) -> None:
        await services.set_record_text(
            s, service="support", on=True, actor="kim", at_us=world.now_us, intent_id=None
        )
        await online_scores.set(s, "support", share_bp, actor="kim", at_us=world.now_us)

    await world.store.write(work)


async def score(world: World, upto: int, release: int, passed: Iterable[bool]) -> None:
    """Online scoring has looked at the answers up to a request; these are the last of them."""
    rows = [
        Scored(
            number=upto - at, scorer="finished", service="support", release=release,
            at_us=world.now_us, passed=each,
        )
        for at, each in enumerate(passed)
    ]  # fmt: skip
    await world.store.write(lambda s: online_scores.record(s, "support", upto, rows))


def test_each_online_check_is_a_guard() -> None:
    """By the same names, so that a new check is not forgotten."""
    assert {each.value for each in rollout_guards.SCORED} == set(online_checks.CHECKS)


async def test_a_candidate_whose_answers_are_cut_off_is_aborted(world: World) -> None:
    """Twelve of the first twelve scored answers were; until they were scored nothing was known."""
    await scoring(world)
    await world.start(guards=guards("finished>=95%"), steps=CANARY)
    await world.enter()
    world.wait(10)
    await world.serve(100)
    await world.settle()
    assert (await world.rollout()).state is State.STEPPING
    await score(world, 100, STABLE, [False] * 40)
    await score(world, 112, CANDIDATE, [False] * 12)
    world.wait(10)
    plans = await world.settle()
    assert Do.ABORT in {plan.do for plan in plans}
    rollout = await world.rollout()
    assert (rollout.state, rollout.why) == (State.ABORTED, Why.HARM)
    assert "finished>=95%: 12 of 12" in rollout.sentence


async def test_an_analysis_passes_once_enough_answers_were_scored(world: World) -> None:
    """Sixty without an event show 95 %; the answers of stable and those of before do not count."""
    await scoring(world)
    await score(world, 50, CANDIDATE, [False] * 50)
    world.wait(60)
    await world.start(guards=guards("finished>=95%"), steps=CANARY[2:])
    await world.enter()
    world.wait(10)
    await score(world, 108, CANDIDATE, [True] * 58)
    await world.settle()
    look = (await world.looks())[-1]
    assert (look.guard, look.n, look.events) == ("finished>=95%", 58, 0)
    assert look.verdict is Verdict.RUNNING
    world.wait(10)
    await score(world, 110, CANDIDATE, [True] * 2)
    await world.settle()
    assert (await world.rollout()).state is State.COMPLETED


async def test_a_wait_for_scores_says_how_far_scoring_is_behind(world: World) -> None:
    """Only while it is by more than a run or two: the answers of the last minute always wait."""
    await scoring(world)
    await world.start(guards=guards("finished>=95%"), steps=CANARY[2:])
    await world.enter()
    await world.serve(5)
    said = []
    for _ in range(2):
        world.wait(100)
        async with world.store.read() as s:
            facts = await rollout_facts.read(s, await world.rollout(), world.now_us)
        said.append(rollout_decide.decide(facts, world.now_us).sentence)
    assert "behind" not in said[0]
    assert "scoring of answers is 3 min behind" in said[1]


async def test_a_guard_that_would_never_count_anything_is_refused(world: World) -> None:
    """With what to do, for rollouts, their plans, and A/B tests."""
    held = guards("clean>=99%")
    done = await world.ask("rollouts.start", release="r2", guards=held)
    assert done.state is intents.State.REFUSED
    assert "its texts are not recorded" in (done.outcome or "")
    await scoring(world, share_bp=0)
    for verb, arguments in (
        ("rollouts.start", {"release": "r2"}),
        ("rollouts.plan", {"release": "r2"}),
        ("ab_tests.start", {
            "arms": {"r1": 5_000, "r2": 5_000},
            "goals": [{"metric": "thumbs_up", "better": "up", "least": 500}],
        }),
    ):  # fmt: skip
        done = await world.ask(verb, guards=held, **arguments)
        assert done.state is intents.State.REFUSED
        assert "`paddock scoring set support 10`" in (done.outcome or "")


async def test_answers_that_clients_called_wrong_are_counted(world: World) -> None:
    """Of those that were called right or wrong, as harm alone: few clients say so."""
    (wrong,) = guards("wrong<=5%")
    assert wrong["required"] is False
    await world.start(guards=[wrong, *guards("error_rate<=1%")])
    await world.enter()
    world.wait(10)
    await world.serve(20)

    async def say(s: Session) -> None:
        for number in range(1, 13):
            await feedback.add(
                s, request_id=f"req_{number}", at_us=world.now_us, score=1, key_id=1,
                correct=None if number > 10 else number > 9, comment=None,
            )  # fmt: skip

    await world.store.write(say)
    await world.settle()
    rollout = await world.rollout()
    assert (rollout.state, rollout.why) == (State.ABORTED, Why.HARM)
    assert "wrong<=5%: 9 of 10" in rollout.sentence


async def test_a_plan_knows_how_many_requests_a_scored_answer_takes(world: World) -> None:
    """A tenth of stable's answers was scored: a case needs ten requests."""
    await world.serve(200, release=STABLE)
    await score(world, 200, STABLE, [True] * 19 + [False])
    held = [rollout_syntax.parse_guard("finished>=80%")]
    async with world.store.read() as s:
        traffic = await rollout_traffic.read(s, "support", STABLE, held, world.now_us + 1)
    case = planned.case(held[0], traffic, 0)
    assert (case.count.n, case.count.events) == (20, 1)
    assert case.per_request == pytest.approx(0.1)


def test_an_ab_test_adds_new_scores_and_counts_wrong_answers_by_rating() -> None:
    """Scores of other releases and checks are left out; without new ones the counts stay."""
    held = tuple(rollout_syntax.parse_guard(each) for each in ("finished>=95%", "wrong<=5%"))
    test = msgspec.structs.replace(fakes.ab_test((5_000, 5_000), ("thumbs_up",)), guards=held)
    before = fakes.begun(test)
    scores = tuple(
        Rate(service="support", release=release, scorer=scorer, passed=8, scored=10)
        for release, scorer in ((1, "finished"), (1, "clean"), (9, "finished"))
    )
    fresh = Fresh(
        requests=(fakes.seen(1, "u1", 1),),
        ratings=(msgspec.structs.replace(fakes.rated(1, "u1", 1, up=False), correct=False),),
        scored=7,
        scores=scores,
    )
    found = count.fold(test, before, fresh).evidence
    assert found.of(1).guards == (Count(10, 2), Count(1, 1))
    assert found.of(2).guards == (Count(0, 0), Count(0, 0))
    assert found.scored == 7
    again = count.fold(test, found, Fresh()).evidence
    assert again.of(1).guards == found.of(1).guards
    assert again.scored == 7
    more = count.fold(test, found, Fresh(scored=9, scores=scores[:1])).evidence
    assert more.of(1).guards[0] == Count(20, 4)


async def test_an_ab_test_counts_the_scores_of_its_own_requests(world: World) -> None:
    """Those that named no user are in no arm, and what was counted once is not read again."""
    held = (rollout_syntax.parse_guard("finished>=95%"),)
    test = msgspec.structs.replace(fakes.ab_test((5_000, 5_000), ("thumbs_up",)), guards=held)
    await scoring(world)
    rows = [
        Scored(
            number=number, scorer="finished", service="support", release=1, at_us=world.now_us,
            ab_test=test.id if number % 2 else None, passed=False,
        )
        for number in range(1, 11)
    ]  # fmt: skip
    await world.store.write(lambda s: online_scores.record(s, test.service, 10, rows))
    async with world.store.read() as s:
        found = await ab_test_units.with_scores(s, test, fakes.begun(test), Fresh())
        evidence = msgspec.structs.replace(fakes.begun(test), scored=8)
        later = await ab_test_units.with_scores(s, test, evidence, Fresh())
    assert [(each.scored, each.passed) for each in found.scores] == [(5, 0)]
    assert [(each.scored, each.passed) for each in later.scores] == [(1, 0)]
    assert found.scored == later.scored == 10


@pytest.mark.parametrize("measure", sorted(rollout_guards.OF_SOME))
def test_copies_are_neither_scored_nor_rated(measure: Measure) -> None:
    """Such a guard counts the answers that users got."""
    guard = rollout_guards.Guard(measure=measure, allowed_bp=100)
    assert guard.counts(copies=False)
    assert not guard.counts(copies=True)
    assert rollout_syntax.parse_guard(guard.name).allowed_bp == 100
