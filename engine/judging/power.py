"""Predicts what a step of a rollout can find, from traffic, weight, duration and limits.

Answers are numbers of requests; `step` turns them into seconds at the service's measured traffic.
The harm gate's chances are exact for a gate that is asked at some 150 growing counts; asked after
every request it finds a little more. "Found" is found with a chance of 80 %, "missed" is missed
with 80 %. `comparison_power` answers the same for the comparisons with stable.

Never looks at results: the other modules judge those. Imported by the controllers and
`comparison_power`.

Source: the gate's chances are a forward recursion over the counts that have not aborted yet, as in
Armitage, McPherson and Rowe 1969, "Repeated significance tests on accumulating data".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.judging import errors, exceedance

CHANCE: Final = 0.8

# With more allowed events than this in a step, any harm that matters is found; counting on would
# only cost time.
MOST_EVENTS: Final = 500

EVERY: Final = 20  # requests after each of which the gate is asked, before the looks spread out
SPREAD: Final = 1.05
SAFE_SPREAD: Final = 1.02
MOST_SAFE_EVENTS: Final = 5_000

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Range:
    """The effects between `missed` and `found` are found in some rollouts only.

    In the unit of the question: a rate, a shift in the values' unit, a difference of means.
    `found` is None where no effect of any size is found with the chance asked for, `missed` None
    where every effect of any size is missed with it.
    """

    found: float | None
    missed: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """When the harm gate aborts at a given true rate.

    `chance` is that of an abort within the step; `median_n` and `most_n` are the candidate
    requests after which half and 80 % of such rollouts are aborted, None where the step ends first.
    """

    chance: float
    median_n: int | None
    most_n: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """What one step with one limit can do. Times are seconds from the step's start.

    `safe_after_s` is when the safety gate can pass at the earliest, with no event at all, and
    `passes` whether that is within the step.
    """

    requests: int
    rates: Range
    safe_after_s: float
    passes: bool


def step(
    requests_per_s: float, weight: float, duration_s: float, allowed: float,
    alpha: float = exceedance.ALPHA,
) -> Step:  # fmt: skip
    """A step that sends the share `weight` of the service's requests to the candidate.

    Raises:
        CannotJudge: a rate of requests or duration that is not above 0, or an impossible share.
    """
    if not (requests_per_s > 0 and duration_s > 0):
        raise errors.CannotJudge(
            f"{requests_per_s} requests/s for {duration_s} s: give traffic and duration above 0"
        )
    if not 0 < weight <= 1:
        raise errors.CannotJudge(f"the weight is {weight}: give a share above 0, at most 1")
    per_s = requests_per_s * weight
    requests = int(per_s * duration_s)
    safe_after_s = exceedance.needed(0, 0, allowed, alpha) / per_s
    return Step(requests, rates(allowed, requests, alpha), safe_after_s, safe_after_s <= duration_s)


def rates(
    allowed: float, requests: int, alpha: float = exceedance.ALPHA, chance: float = CHANCE
) -> Range:
    """The true rates that the harm gate finds, and misses, within so many candidate requests.

    Raises:
        CannotJudge: an impossible share or a negative number of requests.
    """
    check(allowed, alpha, chance, requests)
    looks, bounds = _plan(allowed, requests, alpha)

    def finds(rate: float) -> float:
        return float(_aborted(rate, looks, bounds)[-1]) if looks.size else 0.0

    return Range(
        found=smallest(finds, chance, allowed, 1 - 1e-9, around=allowed),
        missed=smallest(finds, 1 - chance, allowed, 1 - 1e-9, around=allowed),
    )


def wait(
    rate: float,
    allowed: float,
    requests: int,
    alpha: float = exceedance.ALPHA,
    chance: float = CHANCE,
) -> Wait:
    """How soon the harm gate finds a given true rate; at `rate = allowed`, how often it is wrong.

    Raises:
        CannotJudge: an impossible share or a negative number of requests.
    """
    check(allowed, alpha, chance, requests)
    errors.check_share("the true rate", rate)
    looks, bounds = _plan(allowed, requests, alpha)
    if looks.size == 0:
        return Wait(0.0, None, None)
    aborted = _aborted(rate, looks, bounds)

    def after(share: float) -> int | None:
        return int(looks[np.argmax(aborted >= share)]) if aborted[-1] >= share else None

    return Wait(float(aborted[-1]), after(0.5), after(chance))


def safe_requests(
    rate: float, allowed: float, alpha: float = exceedance.ALPHA, chance: float = CHANCE
) -> int | None:
    """After how many requests the safety gate has passed a true rate with the chance asked for.

    Right to 2 %; None from `allowed` on, or where requests with 5000 allowed events do not suffice.

    Raises:
        CannotJudge: an impossible share.
    """
    check(allowed, alpha, chance, 0)
    if not 0 <= rate < allowed:
        return None
    n = exceedance.needed(0, 0, allowed, alpha)
    if rate == 0:
        return n
    failing = _binomial(n, rate, n)[1:]  # by events, from `least`: those that have not passed
    before, least = n, 1
    while failing.sum() > 1 - chance:
        if n * allowed > MOST_SAFE_EVENTS:
            return None
        n = math.ceil(n * SAFE_SPREAD)
        failing = np.convolve(failing, _binomial(n - before, rate, n - before))
        passed = 0
        while (
            passed < failing.size
            and exceedance.log_safety(n, least + passed, allowed) >= -math.log(alpha)
        ):  # fmt: skip
            passed += 1
        failing, least = failing[passed:], least + passed
        before = n
    return n


def check(allowed: float, alpha: float, chance: float, requests: int) -> None:
    """Refuses what no plan can be made for.

    Raises:
        CannotJudge: an impossible share or a negative number of requests.
    """
    errors.check_share("the rate to hold against", allowed)
    errors.check_share("alpha", alpha)
    errors.check_share("the chance", chance)
    errors.check_counts(requests, 0)


def _plan(allowed: float, requests: int, alpha: float) -> tuple[Integers, Integers]:
    """The counts at which the gate is asked, and the fewest events that abort at each."""
    last = min(requests, int(MOST_EVENTS / allowed) + 1)
    looks = list(range(1, min(EVERY, last) + 1))
    while looks and looks[-1] < last:
        looks.append(min(last, math.ceil(looks[-1] * SPREAD)))
    at = np.asarray(looks, dtype=np.int64)
    low, high = np.zeros_like(at), at + 1
    while (high - low > 0).any():
        middle = (low + high) // 2
        aborts = _log_harm(at, middle, allowed) >= -math.log(alpha)
        low, high = (
            np.where(aborts, low, np.minimum(middle + 1, high)),
            np.where(aborts, middle, high),
        )
    return at, high


def _log_harm(n: Integers, events: Integers, allowed: float) -> Floats:
    worse = np.asarray(exceedance.worse(allowed))[:, None]
    logs = events * np.log(worse / allowed) + (n - events) * np.log((1 - worse) / (1 - allowed))
    summed: Floats = np.logaddexp.reduce(logs, axis=0)
    return summed - math.log(len(worse))


def _aborted(rate: float, looks: Integers, bounds: Integers) -> Floats:
    """The chance to have been aborted at or before each look."""
    alive = np.ones(1)
    before, going = 0, []
    for n, bound in zip(looks.tolist(), bounds.tolist(), strict=True):
        alive = np.convolve(alive, _binomial(n - before, rate, bound))[:bound]
        before = n
        going.append(alive.sum())
    return 1 - np.asarray(going)


def _binomial(n: int, rate: float, most: int) -> Floats:
    """The chances of 0, 1, ... events in n requests, as many of them as matter."""
    spread = int(n * rate + 8 * math.sqrt(n * rate * (1 - rate)) + 12)
    events = np.arange(1, min(n, most, spread) + 1)
    steps = np.log((n - events + 1) / events) + math.log(rate / (1 - rate))
    return np.exp(np.concatenate([[0.0], np.cumsum(steps)]) + n * math.log1p(-rate))


def smallest(
    finds: Callable[[float], float], chance: float, low: float, high: float, around: float = 0.0
) -> float | None:
    """The smallest effect found with the chance, to half a percent of its distance from none.

    `around` is no effect. None where even `high` is not found.
    """
    if finds(high) < chance:
        return None
    floor = (high - low) * 1e-7
    while high - low > max(2 * floor, 0.005 * (high - around)):
        # Effects differ by orders of magnitude: halve their distance from none on a log scale.
        near, far = max(low - around, floor), high - around
        middle = around + math.sqrt(near * far)
        low, high = (low, middle) if finds(middle) >= chance else (middle, high)
    return high
