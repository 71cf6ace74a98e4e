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


def arguments(**typed: Any) -> dict[str, Any]:
    """The arguments of a start with these options."""
    given: dict[str, Any] = {"to": "r2", "strategy": None, "steps": None, "guards": None}
    return rollout_options.arguments(None, usual=POLICY, **(given | typed))


def test_without_options_a_rollout_is_as_the_policy_has_it() -> None:
    """Control knows that nobody asked for these steps, so a way back may skip them."""
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


def test_an_option_wins_over_the_policy() -> None:
    """Guards that are given are all of them."""
    plan = rollout_options.planned(arguments(guards=["ttft_p95<=1s"]))
    assert [each.name for each in plan.guards] == ["ttft_p95<=1s"]
    assert plan.steps == POLICY.steps


def test_without_a_policy_the_defaults_hold() -> None:
    """As for a service that no manifest made."""
    found = rollout_options.arguments(None, to="r2", strategy=None, steps=None, guards=None)
    plan = rollout_options.planned(found)
    assert plan.steps == rollout_steps.DEFAULTS[Strategy.CANARY]
    assert plan.guards == rollout_guards.GUARDS
    assert "by_policy" not in found
