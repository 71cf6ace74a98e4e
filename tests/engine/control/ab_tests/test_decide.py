"""What is decided of an A/B test, over all that can be seen of one."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.control.ab_tests.decide import Do, Plan, decide
from storage.ab_test_evidence import ArmEvidence, Count, Evidence
from storage.ab_test_looks import Kind, Look, Verdict
from storage.ab_tests import AbTest, State, Why
from storage.availability import Availability, Can
from storage.services import Freeze, Owner, OwnerKind, Service
from tests.engine.control.ab_tests import fakes

SENTENCED = frozenset({Verdict.BETTER, Verdict.WORSE, Verdict.SAME})
FROZEN = Freeze(by="kim", reason="an incident", at_us=0)


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """A test of two to four arms, with any verdicts, any number of units, anywhere in time."""
    arms = draw(st.integers(2, 4))
    weights = [10_000 - (arms - 1) * 1_000] + [1_000] * (arms - 1)
    state = draw(st.sampled_from([State.LOADING, State.RUNNING, State.UNHEALTHY]))
    test = fakes.ab_test(weights, state=state, promotes=draw(st.booleans()))
    if state is State.LOADING:
        test = msgspec.structs.replace(test, exposed_at_us=None)
    units = [draw(st.integers(0, 300)) for _ in range(arms)]
    evidence = Evidence(
        arms=tuple(
            ArmEvidence(release=at, units=each, guards=(Count(),), rates=(Count(),))
            for at, each in enumerate(units, 1)
        ),
        ratio_units=draw(st.sampled_from([0, 100])),
    )
    verdicts = st.sampled_from([*SENTENCED, Verdict.PENDING, Verdict.RUNNING])
    looks = [_look(Kind.GOAL, "thumbs_up", each, draw(verdicts)) for each in test.treatments]
    harm = st.sampled_from([Verdict.RUNNING, Verdict.HOLDS, Verdict.HARM])
    looks += [_look(Kind.GUARD, "error_rate<=1%", each, draw(harm)) for each in test.treatments]
    ratio = draw(st.sampled_from([Verdict.HOLDS, Verdict.MISMATCH, Verdict.PENDING]))
    owner = draw(st.sampled_from([test.owner, None, Owner(OwnerKind.ROLLOUT, "1")]))
    service = fakes.service(test, owner=owner, frozen=draw(st.sampled_from([None, FROZEN])))
    can = st.sampled_from([Can.ANSWER, Can.ANSWER, Can.WAIT, Can.NOT])
    able = {a.release: Availability(can=draw(can), reason="why") for a in test.arms}
    if state is State.LOADING:
        looks, ratio_look = [], None
    else:
        ratio_look = _look(Kind.SPLIT, "split", 0, ratio)
    found = fakes.facts(
        test, evidence, service=draw(st.sampled_from([service, service, service, None])),
        able=able, looks=tuple(looks), ratio=ratio_look, more=draw(st.booleans()),
    )  # fmt: skip
    now = draw(st.sampled_from([0, 30, 60, 3_599, 3_600, 9_999])) * 1_000_000
    return {"facts": found, "now": now, "test": test}


def _look(kind: Kind, name: str, release: int, verdict: Verdict) -> Look:
    effect = 0.1 * release if kind is Kind.GOAL else None
    return Look(
        kind=kind, name=name, release=release, at_us=0, n=9, effect=effect, verdict=verdict,
        sentence=f"{name}: r{release} {verdict.value}",
    )  # fmt: skip


def _plan(world: dict[str, Any]) -> Plan | None:
    decision = decide(world["facts"], world["now"])
    assert decision.sentence
    assert decision.plan is None or isinstance(decision.plan, Plan)
    return decision.plan


@given(worlds())
def test_a_winner_needs_a_healthy_split_enough_units_and_evidence(world: dict[str, Any]) -> None:
    """Each of them, whatever else is so; nothing but these names one."""
    plan, facts, test = _plan(world), world["facts"], world["test"]
    if plan is None or plan.do not in {Do.CROWN, Do.PROMOTE}:
        return
    assert test.state is State.RUNNING
    assert facts.ratio.verdict is not Verdict.MISMATCH
    assert all(arm.units >= test.least_units for arm in facts.evidence.arms)
    won = [x for x in facts.looks if x.release == plan.winner and x.kind is Kind.GOAL]
    assert [look.verdict for look in won] == [Verdict.BETTER]
    assert (plan.do is Do.PROMOTE) == test.promotes
    assert facts.service.frozen is None


@given(worlds())
def test_harm_returns_to_the_control_whatever_else_is_seen(world: dict[str, Any]) -> None:
    """A frozen service and a winner at hand are no excuse; only a lost split is."""
    plan, facts = _plan(world), world["facts"]
    if any(look.verdict is Verdict.HARM for look in facts.looks) and facts.owned:
        assert plan is not None
        assert (plan.do, plan.why) == (Do.RETURN, Why.HARM)


@given(worlds())
def test_a_split_that_is_not_the_tests_is_never_touched(world: dict[str, Any]) -> None:
    """The test ends and leaves it; a person, an undo or a removal took it."""
    plan, facts = _plan(world), world["facts"]
    assert (plan is not None and plan.do is Do.LEAVE) == (not facts.owned)


@given(worlds())
def test_a_frozen_service_changes_only_by_the_way_back_from_what_is_wrong(
    world: dict[str, Any],
) -> None:
    """No beginning, no winner, no inconclusive end."""
    plan, facts = _plan(world), world["facts"]
    if not facts.owned or facts.service.frozen is None or plan is None:
        return
    assert plan.do in {Do.RETURN, Do.MARK, Do.RECORD}
    if plan.do is Do.RETURN:
        assert plan.why in {Why.HARM, Why.UNLOADABLE, Why.LATE}


@given(worlds())
def test_no_test_runs_longer_than_it_may(world: dict[str, Any]) -> None:
    """Once its time is over it ends, unless it is frozen or there is more to count first."""
    plan, facts, test = _plan(world), world["facts"], world["test"]
    over = test.until_us is not None and world["now"] >= test.until_us
    if over and facts.owned and facts.service.frozen is None and not facts.more:
        assert plan is not None
        assert plan.do in {Do.RETURN, Do.CROWN, Do.PROMOTE, Do.MARK}


@given(worlds())
def test_what_waits_says_for_what_and_is_looked_at_again(world: dict[str, Any]) -> None:
    """A test under way never falls asleep."""
    decision = decide(world["facts"], world["now"])
    assert decision.plan is not None or decision.due_us is not None


def test_control_wins_only_if_every_treatment_is_known_not_to_be_better() -> None:
    """One that is undecided keeps the test going; none worse and none better is no difference."""

    def why(*verdicts: Verdict) -> Why | None:
        test = fakes.ab_test((8_000, 1_000, 1_000))
        looks = tuple(
            _look(Kind.GOAL, "thumbs_up", at, each) for at, each in enumerate(verdicts, 2)
        )
        found = fakes.facts(
            test, _enough(test), service=_service(test), looks=looks,
            ratio=_look(Kind.SPLIT, "split", 0, Verdict.HOLDS),
        )  # fmt: skip
        plan = decide(found, 0).plan
        return plan.why if isinstance(plan, Plan) and plan.do is not Do.RECORD else None

    assert why(Verdict.WORSE, Verdict.RUNNING) is None
    assert why(Verdict.WORSE, Verdict.SAME) is Why.CONTROL
    assert why(Verdict.SAME, Verdict.SAME) is Why.NO_DIFFERENCE
    assert why(Verdict.WORSE, Verdict.BETTER) is Why.WINNER


def _enough(test: AbTest) -> Evidence:
    arms = tuple(ArmEvidence(release=arm.release, units=500) for arm in test.arms)
    return Evidence(arms=arms, ratio_units=1_500)


def _service(test: AbTest) -> Service:
    return fakes.service(test)
