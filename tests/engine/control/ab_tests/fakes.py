"""A/B tests as records, and units that answer and rate as a test wants, without a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.control.ab_tests import count, judge
from engine.control.ab_tests.facts import Facts
from storage import ab_test_evidence
from storage.ab_test_evidence import Evidence
from storage.ab_test_goals import parse
from storage.ab_test_units import Fresh, Rated, Seen
from storage.ab_tests import AbTest, State, Why
from storage.availability import Availability, Can
from storage.requests import Outcome
from storage.rollout_guards import Guard, Measure
from storage.services import Arm, Service, Split

HOUR_US = 3_600 * 1_000_000


def ab_test(
    weights: Sequence[int] = (5_000, 5_000), goals: Sequence[str] = ("thumbs_up",), **changes: Any
) -> AbTest:
    """A running test of r1, the control, and the releases after it, since the beginning of time."""
    made = AbTest(
        id=7, service="support", control=1,
        arms=tuple(Arm(release=at, weight_bp=each) for at, each in enumerate(weights, 1)),
        goals=tuple(parse(each) for each in goals),
        guards=(Guard(measure=Measure.ERROR_RATE, allowed_bp=100),),
        least_units=100, at_most_s=3_600, load_timeout_s=60, salt="s", state=State.RUNNING,
        why=Why.LOADED, sentence="It runs.", version=2, base_split_id=1, split_id=3,
        exposed_at_us=0, started_at_us=0, started_by="kim", intent_id=None, moved_at_us=0,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def begun(test: AbTest) -> Evidence:
    """Nothing counted yet."""
    return ab_test_evidence.begin(
        [arm.release for arm in test.arms], len(test.goals), len(test.guards), request=0, rating=0
    )


def seen(
    number: int, unit: str, release: int, outcome: Outcome = Outcome.OK, latency_us: int = 200_000
) -> Seen:
    """A request that has ended."""
    return Seen(
        number=number, unit=unit, release=release, at_us=number, outcome=outcome,
        latency_us=latency_us, ttft_us=10_000, answer_tokens=20, compute_us=50_000,
    )  # fmt: skip


def rated(number: int, unit: str, release: int, *, up: bool) -> Rated:
    """A rating of its answer."""
    return Rated(number=number, unit=unit, release=release, score=1 if up else -1, correct=None)


def folded(test: AbTest, before: Evidence, fresh: Fresh) -> Evidence:
    """The counts with what is new in them."""
    return count.fold(test, before, fresh).evidence


def service(test: AbTest, **changes: Any) -> Service:
    """The service, whose split is the test's."""
    split = Split(
        id=test.split_id or 0, service="support", salt="s", arms=test.arms, set_at_us=0,
        set_by="control", intent_id=None,
    )  # fmt: skip
    made = Service(
        name="support", split=split, record_text=False, version=3, owner=test.owner,
        created_at_us=0, created_by="kim",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def facts(
    test: AbTest, evidence: Evidence, *, service: Service | None, at_us: int = 0, **changes: Any
) -> Facts:
    """What a look at these counts finds."""
    able = {arm.release: Availability(can=Can.ANSWER) for arm in test.arms}
    known: dict[str, Any] = {"able": able}
    if "looks" not in changes:
        known["looks"] = judge.looks(test, evidence, at_us)
        known["ratio"] = judge.ratio(test, evidence, at_us) if evidence.units else None
    return Facts(test=test, service=service, evidence=evidence, **(known | changes))
