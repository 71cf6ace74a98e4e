"""The rollout that is planned, and its guards on the stable release as they were measured.

Pure. Imported by the job that plans a rollout, `engine.control.rollouts.forecast` and `advice`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.control.rollouts import judge
from engine.control.rollouts.rhythm import Rhythm
from engine.judging import power
from storage import rollout_guards
from storage.rollout_evidence import Count
from storage.rollout_guards import Guard
from storage.rollout_steps import Mirror, SetWeight, Step
from storage.rollout_traffic import Traffic
from storage.splits import WHOLE_BP


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The rollout that is planned; `memory` says whether the candidate fits."""

    service: str
    stable: int
    candidate: int
    strategy: str
    steps: tuple[Step, ...]
    guards: tuple[Guard, ...]
    memory: str


@dataclass(frozen=True, slots=True)
class Case:
    """A guard on the stable release: the share of events, and how many cases a request is."""

    guard: Guard
    count: Count
    per_request: float

    @property
    def rate(self) -> float | None:
        """The share of events; None where nothing was measured."""
        return self.count.events / self.count.n if self.count.n else None

    @property
    def needs(self) -> int | None:
        """Cases after which 80 % of candidates like stable are shown to keep to the guard."""
        return power.safe_requests(self.rate or 0.0, self.guard.allowed_bp / WHOLE_BP, judge.ALPHA)

    def after_s(self, weight: float, beat: Rhythm, begin_s: float) -> float | None:
        """After how many seconds the guard is expected to be shown to hold at a weight."""
        if self.needs is None or not self.per_request:
            return None
        return beat.time_for(self.needs / self.per_request / weight, begin_s)


def case(guard: Guard, traffic: Traffic, at: int) -> Case:
    """The guard with the number `at`."""
    count = Count() if guard.measure in rollout_guards.OF_COPIES else traffic.counts[at]
    if guard.measure not in rollout_guards.OF_SOME:
        return Case(guard, count, 1.0)
    return Case(guard, count, count.n / traffic.stable_n if traffic.stable_n else 0.0)


def required(cases: Sequence[Case]) -> list[Case]:
    """The guards that an analysis waits for."""
    return [case for case in cases if case.guard.required] or list(cases)


def share_bp(step: Step) -> int:
    """The share of the requests that the candidate gets by a step, or gets copies of."""
    match step:
        case SetWeight(weight_bp):
            return weight_bp
        case Mirror(share_bp=share_bp):
            return share_bp
        case _:
            return 0
