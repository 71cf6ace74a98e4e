"""A rollout typed on the screen, of a service that has a rollout policy."""

from __future__ import annotations

import msgspec
import pytest

from app import snapshot
from app.screens import starting
from app.screens.place import Offer
from storage import rollout_syntax
from storage.release_content import Content, Engine, Limits, Sampling
from storage.rollout_policies import Policy
from storage.rollout_steps import Strategy

POLICY = Policy(
    strategy=Strategy.BLUE_GREEN,
    steps=rollout_syntax.parse_steps(["100", "pause 10m"]),
    guards=(rollout_syntax.parse_guard("error_rate<=3%"),),
)


def offered(typed: str | None, policy: Policy | None = POLICY) -> Offer:
    """What the screen says of that line, for a service on r1 and the release r2."""
    release = snapshot.ReleaseRow(
        number=2, sha256="", model="ops@1.0.0", prompt="", deployment="ops-1.0.0", at_us=1,
        by="sara", comment="", live=(), rollouts=(),
        content=Content(sampling=Sampling(), limits=Limits(), engine=Engine()),
    )  # fmt: skip
    split = snapshot.Split(id=1, arms=((1, 10_000),), set_at_us=1, set_by="sara")
    service = snapshot.Service(
        name="support", version=1, record_text=False, requests=0, synthetic=None, arms=(),
        history=(split,), rollout_policy=policy,
    )  # fmt: skip
    seen = snapshot.Releases(rows=(release,), services=(service,), waits={})
    found = starting.offer("rollouts.start", release, seen, typed)
    assert found is not None
    return found


def test_the_line_begins_with_the_strategy_of_the_policy() -> None:
    """Without a policy it is a canary."""
    assert offered(None).form == "support blue-green"
    assert offered(None, None).form == "support canary"


def test_what_is_not_typed_is_as_the_policy_has_it() -> None:
    """As `paddock rollouts start` has it; control skips the steps on the way back."""
    found = offered("support blue-green")
    assert found.arguments["steps"] == msgspec.to_builtins(POLICY.steps)
    assert found.arguments["by_policy"] is True
    assert found.effect.startswith("start: support r1 → r2, blue-green by the policy: 100 %, ")
    assert found.effect.endswith("; guards error_rate<=3%")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("support canary", "canary by the policy except strategy, steps: 5 %"),
        ("support blue-green guards error_rate<=1%", "blue-green by the policy except guards: "),
    ],
)
def test_the_effect_says_what_of_the_policy_is_left(typed: str, said: str) -> None:
    """Before it is asked for."""
    assert said in offered(typed).effect
