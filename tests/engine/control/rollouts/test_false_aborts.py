"""How often a candidate within its guards is aborted, by simulation."""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
import pytest

from engine.control.rollouts import compare, judge
from engine.control.rollouts.decide import Do, Plan, decide
from engine.control.rollouts.facts import Facts
from engine.judging import exceedance, two_rates
from storage.availability import Availability, Can
from storage.rollout_evidence import Block, Count, Evidence
from storage.rollout_guards import GUARDS
from storage.rollout_steps import DEFAULTS, SetWeight, Strategy
from storage.rollouts import Rollout, State, Why
from storage.services import Arm, Owner, OwnerKind, Service, Split
from storage.splits import WHOLE_BP

ROLLOUTS: Final = 1_000
REQUESTS: Final = 600  # at each weight, with a look after every one
SEED: Final = 20261127
BLOCKS: Final = 10
RATED: Final = 0.2
BLOCK: Final = 30  # candidate requests in a block of time


@functools.cache
def harm(allowed: float, threshold: float, most: int) -> np.ndarray:
    """For each number of requests, the fewest events at which the harm gate is reached."""
    least = np.full(REQUESTS + 1, most + 1)
    events = 0
    for n in range(1, REQUESTS + 1):  # more requests never need fewer events
        while events <= n and exceedance.log_harm(n, events, allowed) < threshold:
            events += 1
        least[n] = events
    return least


def aborted(rates: tuple[float, ...], strategy: Strategy, stable: tuple[float, ...]) -> float:
    """The share of rollouts that are aborted if the guards' events have these true rates."""
    random = np.random.default_rng(SEED)
    steps = DEFAULTS[strategy]
    weights = [each.weight_bp for each in steps if isinstance(each, SetWeight)]
    threshold = -math.log(judge.level(GUARDS, steps))
    found = np.zeros(ROLLOUTS, dtype=bool)
    for weight in weights:
        for guard, rate, beside in zip(GUARDS, rates, stable, strict=True):
            bad = random.random((ROLLOUTS, REQUESTS)) < rate
            least = harm(guard.allowed_bp / WHOLE_BP, threshold, REQUESTS)[1:]
            found |= (np.cumsum(bad, axis=1) >= least).any(axis=1)
            if guard in judge.of_requests(GUARDS) and weight < WHOLE_BP:
                found |= worse(random, bad, beside, weight, threshold, guard.allowed_bp / 20_000)
    return float(found.mean())


def worse(
    random: np.random.Generator,
    bad: np.ndarray,
    rate: float,
    weight: int,
    threshold: float,
    expected: float,
) -> np.ndarray:
    """In which rollouts the comparison of rates with stable is reached, after any block."""
    own = bad.reshape(ROLLOUTS, -1, BLOCK).sum(axis=2)
    size = round(BLOCK * (WHOLE_BP - weight) / weight)
    logs = two_rates.log_ratios(
        np.full(own.shape, float(BLOCK)), own.astype(float), np.full(own.shape, float(size)),
        random.binomial(size, rate, own.shape).astype(float), expected=expected,
        side=two_rates.Side.HIGHER,
    )  # fmt: skip
    grown = np.logaddexp.reduce(np.cumsum(logs, axis=-1), axis=0) - math.log(len(logs))
    reached: np.ndarray = (grown >= threshold).any(axis=1)
    return reached


def test_of_candidates_at_the_edge_of_every_guard_at_most_5_in_100_are_aborted() -> None:
    """A thousand rollouts each, like stable, looked at after every request and every block."""
    edge = tuple(guard.allowed_bp / WHOLE_BP for guard in GUARDS)
    for strategy in Strategy:
        assert aborted(edge, strategy, edge) <= judge.ALPHA


def test_a_candidate_that_errs_five_times_as_often_as_allowed_is_aborted() -> None:
    """Nearly always within the requests of its first weights."""
    rates = (0.05, 0.01, 0.1)
    assert aborted(rates, Strategy.CANARY, (0.01, 0.01, 0.1)) > 0.99


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_rollouts_decided_after_every_request_are_aborted_at_most_50_times() -> None:
    """The controller's own looks and decisions, with both arms at the edge of every guard."""
    random = np.random.default_rng(SEED)
    edge = tuple(guard.allowed_bp / WHOLE_BP for guard in GUARDS)
    found = sum(taken_back(random, edge) for _ in range(ROLLOUTS))
    assert found <= judge.ALPHA * ROLLOUTS


SERVICE: Final = Service(
    name="support", record_text=False, version=1, owner=Owner(OwnerKind.ROLLOUT, "1"),
    created_at_us=0, created_by="kim",
    split=Split(
        id=1, service="support", salt="s", set_at_us=0, set_by="control", intent_id=None,
        arms=(Arm(release=1, weight_bp=9_500), Arm(release=2, weight_bp=500)),
    ),
)  # fmt: skip


def at_step(at: int) -> Rollout:
    """A canary whose weight of step `at` is set, and that waits for its guards."""
    step = DEFAULTS[Strategy.CANARY][at]
    assert isinstance(step, SetWeight)
    return Rollout(
        id=1, service="support", revision=1, strategy=Strategy.CANARY, stable=1, candidate=2,
        steps=DEFAULTS[Strategy.CANARY], guards=GUARDS, load_timeout_s=60, rollback_window_s=60,
        state=State.STEPPING, why=Why.NEXT, sentence="", version=1, step=at + 1, step_began_us=0,
        weight_bp=step.weight_bp, split_id=1, began_at_us=0, started_at_us=0, started_by="kim",
        intent_id=None, moved_at_us=0,
    )  # fmt: skip


def taken_back(random: np.random.Generator, rates: tuple[float, ...]) -> bool:
    """Whether a rollout is aborted whose arms are alike, decided after each event and block.

    Between events no evidence of harm grows, so this finds what a look at every request would.
    """
    n = BLOCKS * BLOCK
    for at in (0, 2, 4):
        rollout = at_step(at)
        bad = random.random((n, len(GUARDS))) < rates
        rated = random.random(n) < RATED
        bad[:, 2] &= rated
        seen, ratings = bad.cumsum(axis=0), rated.cumsum()
        beside = round(BLOCK * (WHOLE_BP - rollout.weight_bp) / rollout.weight_bp)
        blocks: list[Block] = []
        for end in np.flatnonzero(bad.any(axis=1) | (np.arange(1, n + 1) % BLOCK == 0)) + 1:
            if end % BLOCK == 0 and beside:
                own = bad[end - BLOCK : end, :2].sum(axis=0)
                stable = [int(random.binomial(beside, rate)) for rate in rates[:2]]
                blocks.append(Block(BLOCK, beside, (int(own[0]), int(own[1])), tuple(stable)))
            errors, slow, down = (int(count) for count in seen[end - 1])
            counts = Count(int(end), errors), Count(int(end), slow)
            evidence = Evidence(
                counts=(*counts, Count(int(ratings[end - 1]), down)), blocks=tuple(blocks)
            )
            looks = judge.looks(rollout, evidence, 0) + compare.rates(rollout, evidence, 0)
            facts = Facts(
                rollout=rollout, service=SERVICE, candidate=Availability(can=Can.ANSWER),
                evidence=evidence, looks=looks,
            )  # fmt: skip
            plan = decide(facts, 0).plan
            assert isinstance(plan, Plan | None)
            if plan is not None and plan.do is Do.ABORT:
                return True
    return False
