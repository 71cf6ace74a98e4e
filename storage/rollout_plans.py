"""What can be said of a rollout before it starts, as data: how long, what it finds, what it misses.

Pure records. Computed by `engine.control.rollouts.forecast`, kept as the result of the job that
computed it, and read by every package. Times are seconds, durations of requests microseconds,
shares and rates between 0 and 1. "Found" is found with a chance of 80 %, "missed" is missed with
80 %; None means that no size of effect is.
"""

from __future__ import annotations

from typing import Final

import msgspec

JOB: Final = "plan_rollout"
"""The kind of the job that computes a plan."""
STEP: Final = "forecast"
"""The step of the job whose result the plan is."""


class MeasuredTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """The service's requests that were executed in a window that ended with the measurement.

    `by_hour` has the requests per second in each hour of the day, UTC; None where the window has
    less than ten minutes of that hour. `stable_n` are those of the stable release, whose latency
    is that of its successful requests.
    """

    begin_us: int
    end_us: int
    requests: int
    per_s: float
    by_hour: tuple[float | None, ...]
    stable_n: int
    latency_p50_us: int | None
    latency_p95_us: int | None


class GuardForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A guard at one weight: what it finds in the time that the step lasts, and when it can pass.

    `measured` is the share of events on the stable release. `cases` are the candidate's in that
    time: requests, or thumbs. `needs` is after how many of them 80 % of candidates like stable are
    shown to keep to the guard, None if that is never shown; `after_s` is when they are expected.
    """

    guard: str
    required: bool
    allowed: float
    measured: float | None
    cases: int
    found: float | None
    missed: float | None
    needs: int | None
    after_s: float | None


class ComparisonForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison with stable at one weight: a rate, or with `unit` us the shift of a duration."""

    name: str
    unit: str
    stable: float
    found: float | None
    missed: float | None


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A weight with what follows it, or a mirror; `step` and `last` are counted from 1.

    `requests` are the candidate's, or with `copies` those that it gets copies of. `passes` is None
    without an analysis. `asks` says that a person has to promote it. The time that webhooks take
    is not known, and not counted.
    """

    step: int
    last: int
    words: str
    weight_bp: int
    copies: bool = False
    lasts_s: float
    requests: int
    stable_requests: int
    passes: bool | None
    asks: bool
    guards: tuple[GuardForecast, ...]
    comparisons: tuple[ComparisonForecast, ...]


class RolloutPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan. `enough` says whether the traffic leads it to its end; `verdict` says it in words.

    `unscored` says why a shadow does not score stable's answers, empty where it does or is none.
    `weakest` is the number of the step at which least would be found, None without traffic.
    """

    service: str
    stable: int
    candidate: int
    strategy: str
    at_us: int
    traffic: MeasuredTraffic
    stages: tuple[Stage, ...]
    lasts_s: float
    memory: str
    unscored: str = ""
    weakest: int | None
    enough: bool
    verdict: str
