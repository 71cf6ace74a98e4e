"""The goals of an A/B test: what is compared, which way is better, and from where it matters.

A unit counts once for each goal: by its first answer, or by the first answer that it rated. Pure,
and without the store's libraries, so that a command can read what a person typed before these are
loaded. Imported by every package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from storage import errors

MOST_GOALS: Final = 7

_PERCENT: Final = re.compile(r"(\d{1,2}(?:\.\d{1,2})?)\s*%")
_DURATION: Final = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)\s*(ms|s)")
_COUNT: Final = re.compile(r"\d{1,7}")


class Metric(StrEnum):
    """What is compared; the comment says of which answer of a unit."""

    THUMBS_UP = "thumbs_up"  # whether the first thumb was up
    CORRECT = "correct"  # whether the first answer that the client judged was correct
    ERROR_RATE = "error_rate"  # whether the first executed request failed
    LATENCY = "latency"  # of the first answer
    TTFT = "ttft"  # of the first answer
    ANSWER_TOKENS = "answer_tokens"  # of the first answer
    COMPUTE = "compute"  # computing time of the first answer; its cost, at any price


class Unit(StrEnum):
    """In what a metric is measured."""

    SHARE = "share"  # a least effect is in basis points
    MICROSECONDS = "us"
    TOKENS = "tokens"


class Better(StrEnum):
    """Which direction is an improvement."""

    UP = "up"
    DOWN = "down"


UNITS: Final[dict[Metric, Unit]] = {
    Metric.THUMBS_UP: Unit.SHARE,
    Metric.CORRECT: Unit.SHARE,
    Metric.ERROR_RATE: Unit.SHARE,
    Metric.LATENCY: Unit.MICROSECONDS,
    Metric.TTFT: Unit.MICROSECONDS,
    Metric.ANSWER_TOKENS: Unit.TOKENS,
    Metric.COMPUTE: Unit.MICROSECONDS,
}
_DEFAULTS: Final[dict[Metric, tuple[Better, int]]] = {
    Metric.THUMBS_UP: (Better.UP, 500),
    Metric.CORRECT: (Better.UP, 500),
    Metric.ERROR_RATE: (Better.DOWN, 100),
    Metric.LATENCY: (Better.DOWN, 100_000),
    Metric.TTFT: (Better.DOWN, 50_000),
    Metric.ANSWER_TOKENS: (Better.DOWN, 10),
    Metric.COMPUTE: (Better.DOWN, 50_000),
}


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A metric; `least` is the smallest difference that matters: basis points, µs or tokens."""

    metric: Metric
    better: Better
    least: Annotated[int, Meta(ge=1, le=10**10)]

    def __post_init__(self) -> None:
        """Refuse a share that no difference of shares could reach."""
        if self.unit is Unit.SHARE and self.least > 5_000:  # noqa: PLR2004 half of all
            raise ValueError("the least effect of a rate is at most 50 % - at `$.least`")

    @property
    def name(self) -> str:
        """Its metric; a test has each metric once."""
        return self.metric.value

    @property
    def unit(self) -> Unit:
        """In what it is measured."""
        return UNITS[self.metric]

    @property
    def less_is_better(self) -> bool:
        """Whether a smaller value is an improvement."""
        return self.better is Better.DOWN

    @property
    def least_effect(self) -> float:
        """The smallest difference that matters in the unit of the metric; a share is of one."""
        return self.least / 10_000 if self.unit is Unit.SHARE else float(self.least)

    @property
    def words(self) -> str:
        """In a sentence: thumbs_up (more is better, from 5 points)."""
        way = "less" if self.less_is_better else "more"
        return f"{self.name} ({way} is better, from {size(self.unit, self.least_effect)})"


def size(unit: Unit, value: float, *, signed: bool = False) -> str:
    """A difference as people read it: 4.1 points, 120 ms, 12 tokens."""
    sign = "+" if signed else ""
    if unit is Unit.SHARE:
        return f"{value * 100:{sign}.3g} points"
    if unit is Unit.TOKENS:
        return f"{value:{sign}.3g} tokens"
    return f"{value / 1000:{sign}.4g} ms"


def check(goals: Sequence[Goal]) -> None:
    """Invalid unless there are goals, each metric once."""
    if not 0 < len(goals) <= MOST_GOALS:
        raise errors.Invalid(f"An A/B test has 1 to {MOST_GOALS} goals, not {len(goals)}.")
    if len({goal.metric for goal in goals}) < len(goals):
        raise errors.Invalid("A metric is named by two goals; name each once.")


def parse(typed: str) -> Goal:
    """A goal as it is typed: thumbs_up, latency:50ms, answer_tokens:up:20.

    Raises:
        Invalid: it is none of these.
    """
    name, *rest = [part.strip() for part in typed.strip().lower().split(":")]
    known = ", ".join(each.value for each in Metric)
    if name not in {each.value for each in Metric}:
        raise errors.Invalid(f"There is no metric {name!r}; the metrics are {known}.")
    metric = Metric(name)
    better, least = _DEFAULTS[metric]
    if rest and rest[0] in {each.value for each in Better}:
        better = Better(rest.pop(0))
    if rest:
        least = _least(metric, rest.pop(0))
    if rest or least == 0:
        raise errors.Invalid(
            f"{typed.strip()!r} is not a goal; a goal is {name}, {name}:{better.value} or "
            f"{name}:{better.value}:{_example(metric)}, the least difference that matters."
        )
    try:
        return Goal(metric=metric, better=better, least=least)
    except ValueError as error:
        raise errors.Invalid(f"{typed.strip()!r}: {str(error).partition(' - at')[0]}.") from error


def _least(metric: Metric, typed: str) -> int:
    """The least effect in the unit of its metric; 0: it is none."""
    unit = UNITS[metric]
    if unit is Unit.SHARE:
        found = _PERCENT.fullmatch(typed)
        return 0 if found is None else round(float(found[1]) * 100)
    if unit is Unit.TOKENS:
        return int(typed) if _COUNT.fullmatch(typed) else 0
    found = _DURATION.fullmatch(typed)
    return 0 if found is None else round(float(found[1]) * (1000 if found[2] == "ms" else 10**6))


def _example(metric: Metric) -> str:
    return {Unit.SHARE: "5%", Unit.TOKENS: "10", Unit.MICROSECONDS: "50ms"}[UNITS[metric]]
