"""Rollouts that no person describes, as labels and stagings start them: by the service's policy."""

from __future__ import annotations

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
    """What is notified, and the guards on requests, are the policy's all the same."""
    found = starts.as_usual(service(SHADOW), "r2", Strategy.BLUE_GREEN)
    assert (found.strategy, found.steps, found.notify) == (
        Strategy.BLUE_GREEN, None, SHADOW.notify,
    )  # fmt: skip
    assert [each.name for each in found.guards or ()] == ["error_rate<=3%"]
    assert not found.by_policy


def test_without_a_policy_it_is_a_canary_or_what_is_asked_for() -> None:
    """By the default steps and guards."""
    assert starts.as_usual(service(None), "r2").strategy is Strategy.CANARY
    found = starts.as_usual(service(None), "r2", Strategy.BLUE_GREEN)
    assert (found.strategy, found.steps, found.guards) == (Strategy.BLUE_GREEN, None, None)
