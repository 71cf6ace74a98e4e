"""How often a candidate that keeps to its guards is taken back all the same: by simulation."""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np

from engine.control.rollouts import judge
from engine.judging import exceedance
from storage import rollout_steps
from storage.rollout_steps import DEFAULTS, GUARDS, Strategy
from storage.splits import WHOLE_BP

ROLLOUTS: Final = 1_000
REQUESTS: Final = 600  # at each weight, with a look after every one
SEED: Final = 20261127


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


def aborted(rates: tuple[float, ...], strategy: Strategy) -> float:
    """The share of rollouts that are aborted if the guards' events have these true rates."""
    random = np.random.default_rng(SEED)
    stages = rollout_steps.stages(DEFAULTS[strategy])
    threshold = -math.log(judge.ALPHA / (len(GUARDS) * stages))
    found = np.zeros(ROLLOUTS, dtype=bool)
    for _ in range(stages):
        for guard, rate in zip(GUARDS, rates, strict=True):
            seen = np.cumsum(random.random((ROLLOUTS, REQUESTS)) < rate, axis=1)
            least = harm(guard.allowed_bp / WHOLE_BP, threshold, REQUESTS)[1:]
            found |= (seen >= least).any(axis=1)
    return float(found.mean())


def test_of_candidates_at_the_edge_of_every_guard_at_most_5_in_100_are_aborted() -> None:
    """A thousand rollouts each, looked at after every request; measured: 2.8 and 2.2 %."""
    edge = tuple(guard.allowed_bp / WHOLE_BP for guard in GUARDS)
    for strategy in Strategy:
        assert aborted(edge, strategy) <= judge.ALPHA


def test_a_candidate_that_errs_five_times_as_often_as_allowed_is_aborted() -> None:
    """Nearly always within the requests of its first weights."""
    assert aborted((0.05, 0.01, 0.1), Strategy.CANARY) > 0.99
