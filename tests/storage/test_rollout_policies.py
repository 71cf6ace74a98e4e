"""Rollout policies are refused when they are written, not when a rollout is started by them."""

from __future__ import annotations

import re

import msgspec
import pytest

from storage import rollout_guards, rollout_policies, rollout_syntax
from storage.rollout_policies import Policy
from storage.rollout_steps import Strategy


@pytest.mark.parametrize("strategy", Strategy)
def test_default_steps_need_a_guard(strategy: Strategy) -> None:
    """Every strategy analyses by default; the message says what to change."""
    said = "name one, or give steps without analyses - at `$.guards`"
    with pytest.raises(ValueError, match=re.escape(said)):
        Policy(strategy=strategy, guards=())


def test_a_guard_is_named_once() -> None:
    """Beside default steps as well."""
    guard = rollout_syntax.parse_guard("error_rate<=1%")
    with pytest.raises(ValueError, match=r"named twice.* at `\$\.guards`"):
        Policy(guards=(guard, guard))


def test_steps_that_a_person_leads_need_no_guard() -> None:
    """A pause without an end waits for a person."""
    steps = rollout_syntax.parse_steps(["5", "pause", "100", "pause"])
    assert Policy(steps=steps, guards=()).guards == ()


def test_an_analysis_among_given_steps_needs_a_guard() -> None:
    """The message names the steps, as these may be changed as well."""
    steps = rollout_syntax.parse_steps(["5", "analysis 10m", "100", "pause"])
    with pytest.raises(ValueError, match=r"An analysis needs a guard.* at `\$\.steps`"):
        Policy(steps=steps, guards=())


def test_a_kept_policy_without_guards_for_its_analyses_has_the_default_ones() -> None:
    """A service that was written before can still be read."""
    found = rollout_policies.decode('{"strategy":"blue_green","guards":[]}')
    assert found == Policy(strategy=Strategy.BLUE_GREEN)


def test_a_kept_policy_that_names_a_guard_twice_keeps_the_first_of_each_name() -> None:
    """As a rollout by it was judged: the others are kept, and none is added."""
    clean, failed = (rollout_syntax.parse_guard(each) for each in ("clean>=99%", "error_rate<=1%"))
    milder = msgspec.structs.replace(clean, required=False)
    kept = msgspec.json.encode({"strategy": "blue_green", "guards": [clean, failed, milder]})
    found = rollout_policies.decode(kept.decode())
    assert found == Policy(strategy=Strategy.BLUE_GREEN, guards=(clean, failed))


@pytest.mark.parametrize("policy", [Policy(), Policy(guards=rollout_guards.GUARDS)])
def test_a_policy_is_read_as_it_was_written(policy: Policy) -> None:
    """With default guards, and with the same guards given."""
    assert rollout_policies.decode(rollout_policies.encode(policy)) == policy
