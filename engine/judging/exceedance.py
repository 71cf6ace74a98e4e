"""Whether the rate of a bad event is above, or safely below, the rate that is allowed.

Every guarded condition is one of these: "p95 at most 2 s" allows a share of 0.05 of requests over
2 s; an error rate, thumbs-down and hallucinations are shares already. Two gates read the same two
counts, requests and events among them, as often as wanted:

    harm     the rate is above the allowed one: abort
    safety   the rate is below the allowed one: pass

Assumed: under "the rate is at most p0", each request's chance of an event, given those before it,
is at most p0. Requests need not be independent or alike. The counts must start with the candidate
and never be reset because of how they look; requests are counted when they end, and one that never
ends counts as an event. Each gate is wrong in at most a share `alpha` of rollouts, however often
it is asked; a rollout with several conditions divides `alpha` among them or accepts the sum.

Never decides what to do, and never looks at time. Imported by the controllers and `power`.

Sources: the gates are mixtures of likelihood ratios, held against 1/alpha by Ville's inequality
(Robbins 1970, "Statistical methods related to the law of the iterated logarithm"; Ramdas et al.
2023, "Game-theoretic statistics and safe anytime-valid inference", section 3). The interval is the
beta-binomial mixture of Robbins with the prior of Krichevsky and Trofimov (1981), Beta(1/2, 1/2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.judging import errors

ALPHA: Final = 0.05

# The alternatives to p0, from half as much again to twenty times, or as little as a twentieth.
FACTORS: Final = (1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)

# Passing after the fewest clean requests that any valid test could ask for, log(alpha)/log(1-p0),
# spends nearly all of alpha on runs without an event. The rest is for runs with some.
CLEAN: Final = 0.99

# An e-value is shown and stored as a float; larger values carry no more information.
LARGEST_LOG: Final = 690.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the counts say of one rate.

    `e_value` is the gate's evidence, `reached` whether it is at least 1/alpha. `rate` is
    events/n, 0 where n is 0. `interval` holds the true rate at every n at once with confidence
    1 - alpha; it is two-sided and so a little slower to exclude `allowed` than the gate.
    """

    e_value: float
    n: int
    events: int
    allowed: float
    rate: float
    interval: tuple[float, float]
    reached: bool


def harm(n: int, events: int, allowed: float, alpha: float = ALPHA) -> Evidence:
    """Evidence that the rate is above `allowed`, a share in (0, 1).

    Raises:
        CannotJudge: the counts or the shares are impossible.
    """
    return _evidence(log_harm, n, events, allowed, alpha)


def safety(n: int, events: int, allowed: float, alpha: float = ALPHA) -> Evidence:
    """Evidence that the rate is below `allowed`, a share in (0, 1).

    Raises:
        CannotJudge: the counts or the shares are impossible.
    """
    return _evidence(log_safety, n, events, allowed, alpha)


def needed(n: int, events: int, allowed: float, alpha: float = ALPHA) -> int:
    """How many more requests without an event the safety gate needs to pass; 0 if it passes.

    Raises:
        CannotJudge: the counts or the shares are impossible.
    """
    _check(n, events, allowed, alpha)

    def passes(more: int) -> bool:
        return log_safety(n + more, events, allowed) >= -math.log(alpha)

    if passes(0):
        return 0
    short, enough = 0, 1
    while not passes(enough):
        short, enough = enough, enough * 2
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if passes(middle) else (middle, enough)
    return enough


def interval(n: int, events: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The rates that the counts do not contradict, simultaneously for all n.

    Raises:
        CannotJudge: the counts or `alpha` are impossible.
    """
    errors.check_counts(n, events)
    errors.check_share("alpha", alpha)
    if n == 0:
        return 0.0, 1.0
    clean = n - events
    bound = _log_beta(events + 0.5, clean + 0.5) - math.log(math.pi) + math.log(alpha)

    def contradicted(rate: float) -> bool:
        return _log_likelihood(events, clean, rate) <= bound

    seen = events / n
    low = 0.0 if events == 0 else _edge(contradicted, 0.0, seen)
    high = 1.0 if clean == 0 else _edge(contradicted, 1.0, seen)
    return low, high


def log_harm(n: int, events: int, allowed: float) -> float:
    """The logarithm of the harm gate's e-value; unchecked, for callers that ask in a loop."""
    return _log_sum([_log_ratio(n, events, rate, allowed) for rate in worse(allowed)]) - math.log(
        len(FACTORS)
    )


def log_safety(n: int, events: int, allowed: float) -> float:
    """The logarithm of the safety gate's e-value; unchecked, for callers that ask in a loop."""
    share = math.log((1 - CLEAN) / len(FACTORS))
    terms = [share + _log_ratio(n, events, allowed / factor, allowed) for factor in FACTORS]
    if events == 0:
        terms.append(math.log(CLEAN) - n * math.log1p(-allowed))
    return _log_sum(terms)


def worse(allowed: float) -> tuple[float, ...]:
    """The rates that the harm gate tests against `allowed`, each below 1."""
    most = 1 - (1 - allowed) / FACTORS[-1]
    return tuple(min(allowed * factor, most) for factor in FACTORS)


def _evidence(
    log_e: Callable[[int, int, float], float], n: int, events: int, allowed: float, alpha: float
) -> Evidence:
    _check(n, events, allowed, alpha)
    evidence = log_e(n, events, allowed)
    return Evidence(
        e_value=math.exp(min(evidence, LARGEST_LOG)),
        n=n,
        events=events,
        allowed=allowed,
        rate=events / n if n else 0.0,
        interval=interval(n, events, alpha),
        reached=evidence >= -math.log(alpha),
    )


def _check(n: int, events: int, allowed: float, alpha: float) -> None:
    errors.check_counts(n, events)
    errors.check_share("the allowed share", allowed)
    errors.check_share("alpha", alpha)


def _log_ratio(n: int, events: int, rate: float, allowed: float) -> float:
    """The log-likelihood of the counts at `rate`, less that at `allowed`."""
    return events * math.log(rate / allowed) + (n - events) * (
        math.log1p(-rate) - math.log1p(-allowed)
    )


def _log_likelihood(events: int, clean: int, rate: float) -> float:
    happened = events * math.log(rate) if events else 0.0
    return happened + (clean * math.log1p(-rate) if clean else 0.0)


def _log_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(math.fsum(math.exp(each - most) for each in logs))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _edge(contradicted: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where the interval ends between a contradicted rate and the one seen, from outside.

    The likelihood falls off on either side of the rate seen, so bisection finds the only edge.
    """
    for _ in range(60):
        middle = (outside + inside) / 2
        if middle in {outside, inside}:
            break
        outside, inside = (middle, inside) if contradicted(middle) else (outside, middle)
    return outside
