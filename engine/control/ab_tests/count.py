"""Counts new requests and ratings: each unit once per goal, in the arm that it saw first.

A unit's first executed request and its first rating are taken, so counts never change afterwards,
which the sequential tests at every look rely on. Guards count every request, rating and scored
answer of the test. The counts of a rate are marked block by block; when a block ends depends on how
many units it has and never on what they did. Pure. Imported by `engine.control.ab_tests`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from engine.judging import confidence_sequence
from engine.judging.confidence_sequence import Moments
from storage import rollout_guards
from storage.ab_test_evidence import ArmEvidence, Count, Evidence, Values
from storage.ab_test_goals import Metric
from storage.ab_test_units import MOST_UNITS, Exposed, Fresh, Rated, Seen
from storage.ab_tests import AbTest
from storage.online_scores import Rate
from storage.requests import Outcome
from storage.rollout_guards import Guard, Measure

BLOCK: Final = 10
"""The fewest units of a block; later ones have a fiftieth of all before, so that few are kept."""
_GROWTH: Final = 50


@dataclass(frozen=True, slots=True)
class Counted:
    """The evidence including the new records, and the units that are new or changed."""

    evidence: Evidence
    units: tuple[Exposed, ...] = ()


def fold(test: AbTest, before: Evidence, fresh: Fresh) -> Counted:
    """Count what was recorded since; the order of recording decides what was first."""
    counting = _Counting(test, before, fresh)
    for seen in fresh.requests:
        counting.request(seen)
    for rated in fresh.ratings:
        counting.rating(rated)
    for rate in fresh.scores:
        counting.score(rate)
    return counting.done()


class _Arm:
    """The counts of one arm while they grow."""

    def __init__(self, before: ArmEvidence) -> None:
        self.release = before.release
        self.units = before.units
        self.requests = before.requests
        self.guards = list(before.guards)
        self.rates = list(before.rates)
        self.values = list(before.values)

    def done(self) -> ArmEvidence:
        return ArmEvidence(
            release=self.release,
            units=self.units,
            requests=self.requests,
            guards=tuple(self.guards),
            rates=tuple(self.rates),
            values=tuple(self.values),
        )


class _Counting:
    """One fold."""

    def __init__(self, test: AbTest, before: Evidence, fresh: Fresh) -> None:
        self._test = test
        self._before = before
        self._fresh = fresh
        self._arms = {arm.release: _Arm(arm) for arm in before.arms}
        self._marks = [list(each) for each in before.marks]
        self._known = dict(fresh.known)
        self._changed: dict[str, Exposed] = {}
        self._units = before.units
        self._places = {goal.metric: at for at, goal in enumerate(test.goals)}

    def request(self, seen: Seen) -> None:
        """A request has ended."""
        arm = self._arms.get(seen.release)
        if arm is None:
            return
        unit = self._known.get(seen.unit)
        if unit is None:
            if self._units >= MOST_UNITS:
                return
            unit = Exposed(unit=seen.unit, release=seen.release, at_us=seen.at_us)
            self._keep(unit)
            arm.units += 1
            self._units += 1
        if not seen.executed:
            return
        arm.requests += 1
        for at, guard in enumerate(self._test.guards):
            if guard.measure not in rollout_guards.OF_SOME:
                arm.guards[at] = _plus(arm.guards[at], event=_breaks(guard, seen))
        if unit.failed is None and unit.release == seen.release:
            self._first(unit, seen, arm)

    def _first(self, unit: Exposed, seen: Seen, arm: _Arm) -> None:
        failed = seen.outcome is Outcome.FAILED
        unit = msgspec.structs.replace(unit, failed=failed)
        self._rate(Metric.ERROR_RATE, arm, event=failed)
        if not failed:
            unit = msgspec.structs.replace(
                unit, latency_us=seen.latency_us, ttft_us=seen.ttft_us,
                answer_tokens=seen.answer_tokens, compute_us=seen.compute_us,
            )  # fmt: skip
            self._value(Metric.LATENCY, arm, seen.latency_us)
            self._value(Metric.ANSWER_TOKENS, arm, seen.answer_tokens)
            self._value(Metric.COMPUTE, arm, seen.compute_us)
            if seen.ttft_us is not None:
                self._value(Metric.TTFT, arm, seen.ttft_us)
        self._keep(unit)

    def rating(self, rated: Rated) -> None:
        """A client rated an answer."""
        answered, unit = self._arms.get(rated.release), self._known.get(rated.unit)
        if answered is None or unit is None:
            return
        for at, guard in enumerate(self._test.guards):
            if guard.measure is Measure.THUMBS_DOWN:
                answered.guards[at] = _plus(answered.guards[at], event=rated.score < 0)
            elif guard.measure is Measure.WRONG and rated.correct is not None:
                answered.guards[at] = _plus(answered.guards[at], event=not rated.correct)
        if rated.release != unit.release:
            return
        if unit.score is None:
            unit = msgspec.structs.replace(unit, score=rated.score)
            self._rate(Metric.THUMBS_UP, answered, event=rated.score > 0)
            self._keep(unit)
        if unit.correct is None and rated.correct is not None:
            unit = msgspec.structs.replace(unit, correct=rated.correct)
            self._rate(Metric.CORRECT, answered, event=rated.correct)
            self._keep(unit)

    def score(self, rate: Rate) -> None:
        """Answers of an arm were scored by a check."""
        arm = self._arms.get(rate.release)
        if arm is None:
            return
        for at, guard in enumerate(self._test.guards):
            if guard.measure == rate.scorer:
                before, events = arm.guards[at], rate.scored - rate.passed
                arm.guards[at] = Count(before.n + rate.scored, before.events + events)

    def done(self) -> Counted:
        """All of it."""
        fresh = self._fresh
        evidence = msgspec.structs.replace(
            self._before,
            request=fresh.requests[-1].number if fresh.requests else self._before.request,
            rating=max(fresh.last_rating, self._before.rating),
            arms=tuple(arm.done() for arm in self._arms.values()),
            marks=tuple(tuple(each) for each in self._marks),
            scored=max(fresh.scored, self._before.scored),
        )
        return Counted(evidence, tuple(self._changed.values()))

    def _keep(self, unit: Exposed) -> None:
        self._known[unit.unit] = self._changed[unit.unit] = unit

    def _rate(self, metric: Metric, arm: _Arm, *, event: bool) -> None:
        at = self._places.get(metric)
        if at is None:
            return
        arm.rates[at] = _plus(arm.rates[at], event=event)
        marks = self._marks[at]
        marked = sum(count.n for count in marks[-1]) if marks else 0
        counts = tuple(each.rates[at] for each in self._arms.values())
        if sum(count.n for count in counts) - marked >= max(BLOCK, marked // _GROWTH):
            marks.append(counts)

    def _value(self, metric: Metric, arm: _Arm, value: float) -> None:
        at = self._places.get(metric)
        if at is not None:
            before = arm.values[at]
            after = moments(before).merged(confidence_sequence.Moments(1, float(value), 0.0))
            arm.values[at] = Values(after.n, after.mean, after.squares)


def moments(values: Values) -> Moments:
    """Stored values as the statistics take them."""
    return Moments(values.n, values.mean, values.squares)


def _plus(count: Count, *, event: bool) -> Count:
    return Count(count.n + 1, count.events + event)


def _breaks(guard: Guard, seen: Seen) -> bool:
    """Whether an executed request is an event of a guard; one that failed always is."""
    if seen.outcome is Outcome.FAILED:
        return True
    match guard.measure:
        case Measure.LATENCY:
            return seen.latency_us > (guard.limit_us or 0)
        case Measure.TTFT:
            return seen.ttft_us is None or seen.ttft_us > (guard.limit_us or 0)
        case _:
            return False
