"""Rollouts that no person describes, as labels and stagings start them: by the service's policy."""

from __future__ import annotations

import pytest

from engine.control.rollouts import starts
from storage import rollout_syntax
from storage.rollout_policies import Policy
from storage.rollout_steps import Strategy
from storage.services import Arm, Service, Split
from storage.splits import WHOLE_BP

SHADOW = Policy(
    strategy=Strategy.SHADOW,
    steps=rollout_syntax.parse_steps(["mirror 10%", "5", "100"]),
    guards=tuple(rollout_syntax.parse_guard(each) for each in ("agreement>=80%", "error_rate<=3%")),
    notify=("https://chat.example.org/x",),
)


def service(policy: Policy | None) -> Service:
    """A service on r1."""
    split = Split(
        id=1, service="support", salt="s", set_at_us=0, set_by="kim", intent_id=None,
        arms=(Arm(release=1, weight_bp=WHOLE_BP),),
    )  # fmt: skip
    return Service(
        name="support", split=split, record_text=False, version=1, created_at_us=0,
        created_by="kim", rollout_policy=policy,
    )  # fmt: skip


def test_a_policy_is_used_with_its_steps_guards_and_addresses() -> None:
    """The steps are the policy's, so a way back to a healthy release skips them."""
    for strategy in (None, Strategy.SHADOW):
        found = starts.as_usual(service(SHADOW), "r2", strategy)
        assert (found.strategy, found.steps, found.guards, found.notify) == (
            SHADOW.strategy, SHADOW.steps, SHADOW.guards, SHADOW.notify,
        )  # fmt: skip
        assert found.by_policy


def test_another_strategy_has_its_own_steps_and_no_guard_on_copies() -> None:
    """Notifications and guards on requests are still the policy's."""
    found = starts.as_usual(service(SHADOW), "r2", Strategy.BLUE_GREEN)
    assert (found.strategy, found.steps, found.notify) == (
        Strategy.BLUE_GREEN, None, SHADOW.notify,
    )  # fmt: skip
    assert [each.name for each in found.guards or ()] == ["error_rate<=3%"]
    assert not found.by_policy


@pytest.mark.parametrize("strategy", [each for each in Strategy if each is not Strategy.SHADOW])
def test_another_strategy_than_a_shadow_of_guarded_copies_has_the_default_guards(
    strategy: Strategy,
) -> None:
    """None of the policy's guards is left, and an analysis needs one."""
    policy = Policy(
        strategy=Strategy.SHADOW, guards=(rollout_syntax.parse_guard("agreement>=80%"),)
    )
    found = starts.as_usual(service(policy), "r2", strategy)
    assert (found.strategy, found.guards) == (strategy, None)


def test_the_steps_of_another_strategy_are_held_to_guards_where_the_policys_were_not() -> None:
    """A person led from step to step by the policy; a canary has analyses."""
    steps = rollout_syntax.parse_steps(["5", "pause", "100", "pause"])
    found = starts.as_usual(
        service(Policy(steps=steps, guards=())), "r2", strategy=Strategy.BLUE_GREEN
    )
    assert (found.steps, found.guards) == (None, None)


def test_without_a_policy_it_is_a_canary_or_what_is_asked_for() -> None:
    """By the default steps and guards."""
    assert starts.as_usual(service(None), "r2").strategy is Strategy.CANARY
    found = starts.as_usual(service(None), "r2", Strategy.BLUE_GREEN)
    assert (found.strategy, found.steps, found.guards) == (Strategy.BLUE_GREEN, None, None)
