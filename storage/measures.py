"""Every rate, ratio and quantile of Paddock, each defined once.

Screens, `paddock status`, /metrics, probes, alert rules and rollouts call these functions, so that
two of them never disagree about the same data. Measures are pure: `traffic`, which is that of
`storage.measured_traffic`, reads from the store what a window holds, and a measure makes one figure
of it. Without data a figure is None, never 0; a count is 0 only if something was measured and
nothing happened. The measures of instances are in `storage.instance_work`. Imported by every
package.

The error rate has one denominator: requests that were executed, `ok + failed`. A request that the
client cancelled says nothing about the answer it did not wait for, and one that admission refused
was never executed; counting either would hide failures when a box is busy. Refusals have a rate
of their own. A request that the release itself cannot serve (its template, its prompt, its
context) counts as failed, and so does one that no worker was there to serve. Requests that
never became a job, such as those without a valid key, belong to no arm: see `storage.rejections`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from storage.measured_traffic import Traffic, Window, by_arm, by_tenant, total, traffic

__all__ = [
    "MEASURES", "Measure", "Traffic", "Unit", "Window", "by_arm", "by_tenant", "cached_share",
    "cancellation_rate", "completion_tokens", "compute_us", "error_rate", "inter_token",
    "interval", "latency", "prompt_tokens", "queue_time", "ratings", "refusal_rate",
    "requests_ended", "requests_per_s", "satisfaction", "satisfaction_interval", "share",
    "share_interval", "synthetic_share", "thumbs", "tokens_per_s", "total", "traffic", "ttft",
]  # fmt: skip


class Unit(StrEnum):
    """The unit of a measure."""

    COUNT = "count"
    RATIO = "ratio"  # 0 to 1
    PER_SECOND = "per second"
    MICROSECONDS = "µs"
    TOKENS = "tokens"


def requests_ended(t: Traffic) -> float | None:
    """Requests that ended, however they ended: ok, failed, invalid, refused and cancelled."""
    return float(t.tally.requests) if t.measured else None


def requests_per_s(t: Traffic) -> float | None:
    """Requests that ended, per second of the window."""
    return t.tally.requests / t.seconds if t.measured else None


def error_rate(t: Traffic) -> float | None:
    """Failed / (ok + failed). None without a request that was executed."""
    return _ratio(t.tally.failed, t.tally.ok + t.tally.failed)


def refusal_rate(t: Traffic) -> float | None:
    """Refused / (ok + failed + refused): what admission turned away of what it was asked for."""
    tally = t.tally
    return _ratio(tally.refused, tally.ok + tally.failed + tally.refused)


def cancellation_rate(t: Traffic) -> float | None:
    """Cancelled / all that ended."""
    return _ratio(t.tally.cancelled, t.tally.requests)


def synthetic_share(t: Traffic) -> float | None:
    """Requests of synthetic load / all that ended."""
    return _ratio(t.tally.synthetic, t.tally.requests)


def share(part: Traffic, whole: Traffic) -> float | None:
    """Requests of an arm / requests of its service: the split as it was measured."""
    return _ratio(part.tally.requests, whole.tally.requests)


def interval(part: float, whole: float, z: float = 1.96) -> tuple[float, float] | None:
    """The 95 % interval (Wilson's) of a share that was measured as `part` of `whole` cases.

    E. B. Wilson, Journal of the American Statistical Association 22 (1927). None without a case.
    """
    if whole <= 0:
        return None
    share, spread = part / whole, z * z / whole
    middle = (share + spread / 2) / (1 + spread)
    reach = z / (1 + spread) * math.sqrt(share * (1 - share) / whole + spread / (4 * whole))
    return max(min(middle - reach, share), 0.0), min(max(middle + reach, share), 1.0)


def share_interval(part: Traffic, whole: Traffic) -> tuple[float, float] | None:
    """The 95 % interval of `share`: what was set may be anywhere in it."""
    return interval(part.tally.requests, whole.tally.requests)


def latency(t: Traffic, q: float) -> float | None:
    """Quantile in µs of arrival to end of the answer, over requests that ended ok; within 1 %."""
    return t.tally.latency.quantile(q)


def ttft(t: Traffic, q: float) -> float | None:
    """Quantile in µs of arrival to first token, over requests that got a token; within 1 %."""
    return t.tally.ttft.quantile(q)


def inter_token(t: Traffic, q: float) -> float | None:
    """Quantile in µs of the time between two tokens of a sequence; within 1 %.

    Known by arm only: None for a tenant or an instance, whose requests do not store it.
    """
    return t.tally.inter_token.quantile(q)


def queue_time(t: Traffic, q: float) -> float | None:
    """Quantile in µs of arrival to first computation, over computed requests; within 1 %."""
    return t.tally.queue.quantile(q)


def satisfaction(t: Traffic) -> float | None:
    """Thumbs up / all thumbs, by when they were given. None without a thumb."""
    up, _ = thumbs(t)
    return _ratio(up, ratings(t))


def satisfaction_interval(t: Traffic) -> tuple[float, float] | None:
    """The 95 % interval of `satisfaction`: a few thumbs say little."""
    return interval(thumbs(t)[0], ratings(t))


def ratings(t: Traffic) -> int:
    """Thumbs given."""
    return sum(thumbs(t))


def thumbs(t: Traffic) -> tuple[int, int]:
    """Thumbs up and down; a window that holds a change of mind without the first counts none."""
    return max(t.tally.thumbs_up, 0), max(t.tally.thumbs_down, 0)


def prompt_tokens(t: Traffic) -> float | None:
    """Tokens of the prompts of requests that ended."""
    return float(t.tally.prompt_tokens) if t.measured else None


def cached_share(t: Traffic) -> float | None:
    """Share of the prompt tokens that were in a cache and were not computed; None without any."""
    return _ratio(t.tally.cached_tokens, t.tally.prompt_tokens)


def completion_tokens(t: Traffic) -> float | None:
    """Tokens generated for requests that ended, however they ended."""
    return float(t.tally.completion_tokens) if t.measured else None


def tokens_per_s(t: Traffic) -> float | None:
    """Tokens generated for requests that ended, per second of the window."""
    return t.tally.completion_tokens / t.seconds if t.measured else None


def compute_us(t: Traffic) -> float | None:
    """Computing time of instances that went into requests that ended, µs."""
    return float(t.tally.busy_us) if t.measured else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measure that can be named: in a runbook's probe, an alert rule, an analysis."""

    name: str
    unit: Unit
    of: Callable[[Traffic], float | None]

    @property
    def sentence(self) -> str:
        """What it is, from its definition."""
        return (self.of.__doc__ or "").partition("\n")[0]


def _quantile(function: Callable[[Traffic, float], float | None], percent: int) -> Measure:
    def of(t: Traffic) -> float | None:
        return function(t, percent / 100)

    of.__doc__ = f"p{percent}: {function.__doc__}"
    return Measure(name=f"{function.__name__}_p{percent}", unit=Unit.MICROSECONDS, of=of)


MEASURES: Final[Mapping[str, Measure]] = {
    each.name: each
    for each in (
        Measure(name="requests", unit=Unit.COUNT, of=requests_ended),
        Measure(name="requests_per_s", unit=Unit.PER_SECOND, of=requests_per_s),
        Measure(name="error_rate", unit=Unit.RATIO, of=error_rate),
        Measure(name="refusal_rate", unit=Unit.RATIO, of=refusal_rate),
        Measure(name="cancellation_rate", unit=Unit.RATIO, of=cancellation_rate),
        Measure(name="synthetic_share", unit=Unit.RATIO, of=synthetic_share),
        Measure(name="satisfaction", unit=Unit.RATIO, of=satisfaction),
        Measure(name="prompt_tokens", unit=Unit.TOKENS, of=prompt_tokens),
        Measure(name="cached_share", unit=Unit.RATIO, of=cached_share),
        Measure(name="completion_tokens", unit=Unit.TOKENS, of=completion_tokens),
        Measure(name="tokens_per_s", unit=Unit.PER_SECOND, of=tokens_per_s),
        Measure(name="compute", unit=Unit.MICROSECONDS, of=compute_us),
        *(
            _quantile(function, percent)
            for function in (latency, ttft, inter_token, queue_time)
            for percent in (50, 95, 99)
        ),
    )
}
"""The measures that have a name of their own; quantiles are latency_p95, ttft_p50 and so on."""


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
