"""Simulated tests, looked at all the time: how often one ends with a winner by chance alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from engine.control.ab_tests import judge
from engine.control.ab_tests.decide import Plan, decide
from engine.judging import exceedance
from storage.ab_test_units import Fresh
from storage.ab_tests import AbTest, Why
from tests.engine.control.ab_tests import fakes

LOOK = 40  # units between two looks

Unit = Callable[[random.Random, int], tuple[bool, int]]
"""Whether a unit likes the answer of a release, and how long that took."""


def like(shares: dict[int, float]) -> Unit:
    """A thumb up with a chance that depends on the release."""
    return lambda noise, release: (noise.random() < shares[release], 200_000)


def slow(noise: random.Random, _release: int) -> tuple[bool, int]:
    """Latency with a long tail, the same on every release."""
    return True, int(noise.lognormvariate(12, 1))


def run(test: AbTest, unit: Unit, seed: int, most: int) -> Plan | None:
    """One test, from its first unit to its end, or until it has so many."""
    noise, evidence = random.Random(seed), fakes.begun(test)
    releases = [arm.release for arm in test.arms]
    weights = [arm.weight_bp for arm in test.arms]
    numbers = itertools.count(1)
    for _ in range(most // LOOK):
        requests, ratings = [], []
        for release in noise.choices(releases, weights, k=LOOK):
            number = next(numbers)
            likes, took = unit(noise, release)
            requests.append(fakes.seen(number, f"u{number}", release, latency_us=took))
            ratings.append(fakes.rated(number, f"u{number}", release, up=likes))
        fresh = Fresh(requests=tuple(requests), ratings=tuple(ratings), last_rating=number)
        evidence = fakes.folded(test, evidence, fresh)
        found = fakes.facts(test, evidence, service=fakes.service(test), recorded=evidence)
        plan = decide(found, 0).plan
        if isinstance(plan, Plan):
            return plan
    return None


@pytest.fixture(autouse=True)
def _without_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still needed decides nothing, and takes longer than all the rest."""
    monkeypatch.setattr(judge, "_needed_to_exclude", lambda *_: None)
    monkeypatch.setattr(exceedance, "needed", lambda *_: None)


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        (fakes.ab_test((5_000, 5_000)), like({1: 0.6, 2: 0.6})),
        (fakes.ab_test((8_000, 1_000, 1_000)), like({1: 0.6, 2: 0.6, 3: 0.6})),
        (fakes.ab_test((5_000, 5_000), ["latency:1ms"]), slow),
    ],
    ids=["thumbs", "thumbs of three arms", "latency"],
)
def test_without_a_difference_at_most_a_twentieth_ends_with_a_winner(
    test: AbTest, unit: Unit
) -> None:
    """A hundred tests of six hundred units, with a look at each forty."""
    ends = [run(test, unit, seed, 600) for seed in range(100)]
    won = [plan for plan in ends if plan is not None and plan.why in {Why.WINNER, Why.CONTROL}]
    assert len(won) <= 5


def test_a_difference_is_found_and_goes_to_the_right_arm() -> None:
    """60 % against 80 %: nine of ten tests end within two thousand units, none the wrong way."""
    test = fakes.ab_test((5_000, 5_000))
    ends = [run(test, like({1: 0.6, 2: 0.8}), seed, 2_000) for seed in range(30)]
    found = [plan for plan in ends if plan is not None]
    assert len(found) >= 27
    assert {(plan.why, plan.winner) for plan in found} == {(Why.WINNER, 2)}
