"""What a person types of a rollout beside what the service's own policy says."""

from __future__ import annotations

from typing import Any

import pytest

from app import rollout_options
from storage import rollout_guards, rollout_steps, rollout_syntax
from storage.rollout_policies import Policy
from storage.rollout_steps import Strategy

POLICY = Policy(
    strategy=Strategy.BLUE_GREEN,
    steps=rollout_syntax.parse_steps(["100", "pause 10m"]),
    guards=(rollout_syntax.parse_guard("error_rate<=3%"),),
    notify=("https://chat.example.org/x",),
)


def arguments(usual: Policy | None = POLICY, **typed: Any) -> dict[str, Any]:
    """The arguments of a start with these options."""
    return rollout_options.arguments(rollout_options.Typed(to="r2", **typed), usual)


def test_without_options_a_rollout_is_as_the_policy_has_it() -> None:
    """Control knows that the steps are the policy's, so a way back may skip them."""
    found = arguments()
    plan = rollout_options.planned(found)
    assert (plan.steps, plan.guards, plan.notify) == (POLICY.steps, POLICY.guards, POLICY.notify)
    assert found["by_policy"] is True
    assert found["strategy"] == "blue_green"


@pytest.mark.parametrize("typed", [{"strategy": Strategy.CANARY}, {"steps": "5, 100"}])
def test_a_strategy_or_steps_replace_both_and_the_rest_stays(typed: dict[str, Any]) -> None:
    """The steps of a policy belong to its strategy."""
    found = arguments(**typed)
    plan = rollout_options.planned(found)
    assert "by_policy" not in found
    assert plan.steps != POLICY.steps
    assert plan.guards == POLICY.guards
    assert plan.notify == POLICY.notify


def test_a_canary_beside_a_shadow_that_guards_copies_alone_has_the_default_guards() -> None:
    """No guard would be left otherwise, and an analysis needs one."""
    usual = Policy(strategy=Strategy.SHADOW, guards=(rollout_syntax.parse_guard("agreement>=80%"),))
    plan = rollout_options.planned(arguments(usual=usual, strategy=Strategy.CANARY))
    assert plan.guards == rollout_guards.GUARDS
    assert plan.steps == rollout_steps.DEFAULTS[Strategy.CANARY]


def test_webhooks_that_were_asked_for_are_walked_on_the_way_back_as_well() -> None:
    """The steps are those of the person then, although the rest of them is the policy's."""
    found = arguments(ask_before="https://gate.example.org/ask")
    gate = rollout_syntax.parse_webhook("https://gate.example.org/ask")
    assert POLICY.steps is not None
    assert rollout_options.planned(found).steps == (gate, *POLICY.steps)
    assert "by_policy" not in found


def test_an_option_wins_over_the_policy() -> None:
    """Guards that are given are all of them."""
    plan = rollout_options.planned(arguments(guards=["ttft_p95<=1s"]))
    assert [each.name for each in plan.guards] == ["ttft_p95<=1s"]
    assert plan.steps == POLICY.steps


def test_without_a_policy_the_defaults_hold() -> None:
    """As for a service that no manifest made."""
    found = arguments(usual=None)
    plan = rollout_options.planned(found)
    assert plan.steps == rollout_steps.DEFAULTS[Strategy.CANARY]
    assert plan.guards == rollout_guards.GUARDS
    assert "by_policy" not in found
