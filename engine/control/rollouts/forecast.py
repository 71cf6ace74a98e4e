"""What a rollout would do at the service's own traffic: how long, what it finds, what it misses.

Pure: traffic and steps in, a plan out. It assumes a candidate that is like the stable release, at
the traffic of the last week, and uses the same gates and levels as `judge`. Imported by the job
that plans a rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.control.rollouts import advice, compare, judge, planned, rhythm
from engine.control.rollouts.planned import Asked, Case
from engine.control.rollouts.rhythm import Rhythm
from engine.judging import comparison_power, power
from storage import rollout_steps
from storage.rollout_plans import (
    ComparisonForecast,
    GuardForecast,
    MeasuredTraffic,
    RolloutPlan,
    Stage,
)
from storage.rollout_steps import Analysis, Mirror, Pause, SetWeight, Step, Webhook
from storage.rollout_traffic import Traffic
from storage.splits import WHOLE_BP

_SECOND_US: Final = 1_000_000
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was measured: the guards on stable, its latencies, the rhythm of the traffic.

    `copied` are the guards that count copies of requests; what only copies show is not measured.
    """

    cases: list[Case]
    copied: list[Case]
    latencies_us: tuple[int, ...]
    beat: Rhythm


def plan(asked: Asked, traffic: Traffic, now_us: int) -> RolloutPlan:
    """The plan of a rollout that would start now."""
    beat = rhythm.of(traffic)
    cases, copied = (
        [
            planned.case(guard, traffic, at)
            for at, guard in enumerate(asked.guards)
            if guard.counts(copies=copies)
        ]
        for copies in (False, True)
    )
    seen = _Seen(cases, copied, traffic.latencies_us, beat)
    stages, at_s = [], now_us / _SECOND_US
    level = judge.level(asked.guards, asked.steps)
    for first, last in _groups(asked.steps):
        stage = _stage(asked.steps, first, last, seen, at_s, level)
        stages.append(stage)
        at_s += stage.lasts_s
    weakest = advice.weakest(stages) if traffic.requests else None
    judged = copied if weakest is not None and weakest.copies else cases
    enough, verdict = advice.verdict(asked, judged, weakest, beat, now_us)
    return RolloutPlan(
        service=asked.service,
        stable=asked.stable,
        candidate=asked.candidate,
        strategy=asked.strategy,
        at_us=now_us,
        traffic=_measured(traffic, beat),
        stages=tuple(stages),
        lasts_s=at_s - now_us / _SECOND_US,
        memory=asked.memory,
        weakest=None if weakest is None else weakest.step,
        enough=enough,
        verdict=verdict,
    )


def _groups(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """Each mirror and each weight above 0 with what follows it: positions, both included.

    The webhooks before the first of them belong to it.
    """
    leads = [at for at, step in enumerate(steps) if isinstance(step, SetWeight | Mirror)]
    starts = [0, *leads[1:]]
    ends = [*[at - 1 for at in leads[1:]], len(steps) - 1]
    return [
        (first, last)
        for first, lead, last in zip(starts, leads, ends, strict=True)
        if planned.share_bp(steps[lead])
    ]


def _stage(
    steps: Sequence[Step],
    first: int,
    last: int,
    seen: _Seen,
    begin_s: float,
    level: float,
) -> Stage:
    beat = seen.beat
    lead = next(step for step in steps[first:] if isinstance(step, SetWeight | Mirror))
    copies = isinstance(lead, Mirror)
    cases = seen.copied if copies else seen.cases
    weight = planned.share_bp(lead) / WHOLE_BP
    after = [case.after_s(weight, beat, begin_s) for case in cases]
    wanted = planned.required(cases)
    waits = [each for each, case in zip(after, cases, strict=True) if case in wanted]
    done = None if None in waits else max((each for each in waits if each is not None), default=0.0)
    lasts, passes, asks = 0.0, None, False
    for step in steps[first : last + 1]:
        match step:
            case Pause(None):
                asks = True
            case Pause(duration_s):
                lasts += duration_s or 0
            case Analysis(at_most_s):
                passes = done is not None and done <= lasts + at_most_s
                lasts = max(lasts, done or 0.0) if passes else lasts + at_most_s
            case Mirror(at_least=at_least, at_most_s=at_most_s):
                compared = beat.time_for(at_least / weight, begin_s)
                shown = None if done is None or compared is None else max(done, compared)
                passes = shown is not None and shown <= at_most_s
                lasts += shown if shown is not None and passes else at_most_s
            case SetWeight() | Webhook():
                pass
    arrivals = beat.arrivals(begin_s, lasts)
    requests = int(arrivals * weight)
    return Stage(
        step=first + 1,
        last=last + 1,
        words=", ".join(rollout_steps.words(step) for step in steps[first : last + 1]),
        weight_bp=0 if copies else planned.share_bp(lead),
        copies=copies,
        lasts_s=lasts,
        requests=requests,
        stable_requests=int(arrivals) - requests,
        passes=passes,
        asks=asks,
        guards=tuple(
            _forecast(case, requests, seconds, level, required=case in wanted)
            for case, seconds in zip(cases, after, strict=True)
        ),
        comparisons=() if copies else _comparisons(seen, requests, int(arrivals) - requests, level),
    )


def _comparisons(
    seen: _Seen, candidate_n: int, stable_n: int, level: float
) -> tuple[ComparisonForecast, ...]:
    """What the comparisons with stable find in so many requests; none without both arms."""
    if not candidate_n or not stable_n or not seen.latencies_us:
        return ()
    found = []
    for case in seen.cases:
        if case.guard in judge.of_requests([case.guard]) and case.count.n:
            rate = (case.count.events + 0.5) / (case.count.n + 1)
            rates = comparison_power.against_stable(rate, candidate_n, stable_n, level)
            found.append(
                ComparisonForecast(
                    name=f"{case.guard.name} against stable",
                    unit="rate",
                    stable=rate,
                    found=rates.found,
                    missed=rates.missed,
                )
            )
    median = float(sorted(seen.latencies_us)[len(seen.latencies_us) // 2])
    shifts = comparison_power.shifts(
        seen.latencies_us, candidate_n, stable_n, least=compare.LEAST_SHIFT * median, alpha=level
    )
    slower = ComparisonForecast(
        name=compare.LATENCY, unit="us", stable=median, found=shifts.found, missed=shifts.missed
    )
    return (*found, slower)


def _forecast(
    case: Case, requests: int, seconds: float | None, level: float, *, required: bool
) -> GuardForecast:
    allowed = case.guard.allowed_bp / WHOLE_BP
    cases = int(requests * case.per_request)
    rates = power.rates(allowed, cases, level)
    return GuardForecast(
        guard=case.guard.name,
        required=required,
        allowed=allowed,
        measured=case.rate,
        cases=cases,
        found=rates.found,
        missed=rates.missed,
        needs=case.needs,
        after_s=seconds,
    )


def _measured(traffic: Traffic, beat: Rhythm) -> MeasuredTraffic:
    ordered = sorted(traffic.latencies_us)
    return MeasuredTraffic(
        begin_us=traffic.begin_us,
        end_us=traffic.end_us,
        requests=traffic.requests,
        per_s=beat.per_s,
        by_hour=beat.by_hour,
        stable_n=traffic.stable_n,
        latency_p50_us=_quantile(ordered, 0.5),
        latency_p95_us=_quantile(ordered, 0.95),
    )


def _quantile(ordered: Sequence[int], q: float) -> int | None:
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else None
