"""The steps of a rollout and the guards it is held to, as data and as they are typed.

Pure: nothing here reads the store or the clock. Without the store's libraries, so that a command
can read what a person typed before these are loaded. Imported by every room.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from storage import errors, splits
from storage.splits import WHOLE_BP

MOST_STEPS: Final = 32
MOST_GUARDS: Final = 16
HOUR_S: Final = 3600

_Seconds = Annotated[int, Meta(ge=1, le=30 * 24 * HOUR_S)]
_Share = Annotated[int, Meta(ge=1, lt=WHOLE_BP)]

_SECOND_US: Final = 1_000_000
_UNITS_S: Final = {"s": 1, "m": 60, "min": 60, "h": HOUR_S, "d": 24 * HOUR_S}
_DURATION: Final = re.compile(r"(\d{1,8})\s*(s|min|m|h|d)")
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*%?")
_LIMIT: Final = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)\s*(ms|s)")
_GUARD: Final = re.compile(r"([a-z_]+?)(?:_p(\d{1,2}))?\s*<=\s*(.+)")


class SetWeight(msgspec.Struct, frozen=True, tag="set_weight"):
    """The candidate gets this share of the traffic, the stable release the rest."""

    weight_bp: Annotated[int, Meta(ge=0, le=WHOLE_BP)]


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Wait so long; None: until a person promotes the rollout."""

    duration_s: _Seconds | None = None


class Analysis(msgspec.Struct, frozen=True, tag="analysis"):
    """Wait until every guard that must be shown to hold is; after `at_most_s`, pause."""

    at_most_s: _Seconds = HOUR_S


Step = SetWeight | Pause | Analysis


class Strategy(StrEnum):
    """How a candidate comes to all of the traffic."""

    BLUE_GREEN = "blue_green"  # at once, with the stable release loaded until the soak has ended
    CANARY = "canary"  # by steps


class Measure(StrEnum):
    """What a guard counts among the candidate's requests; the comment says which it is about."""

    LATENCY = "latency"  # executed requests that took longer than the limit, or failed
    TTFT = "ttft"  # executed requests whose first token took longer, or that failed
    ERROR_RATE = "error_rate"  # executed requests that failed
    THUMBS_DOWN = "thumbs_down"  # thumbs that clients gave


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """At most this share of the candidate's requests may exceed a limit, or fail.

    "p95 at most 2 s" is a share of 5 % over 2 s. `limit_us` is given for durations alone. Harm
    ends a rollout whatever the guard; where it is `required`, an analysis passes only once the
    guard is shown to hold.
    """

    measure: Measure
    allowed_bp: _Share
    limit_us: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a duration without a limit, and a share with one."""
        if (self.limit_us is not None) != (self.measure in TIMED):
            raise ValueError("a limit belongs to latency and ttft, and only to them")

    @property
    def name(self) -> str:
        """As it is typed: latency_p95<=2s, error_rate<=1%."""
        if self.limit_us is None:
            return f"{self.measure}<={splits.percent(self.allowed_bp).replace(' ', '')}"
        quantile = splits.percent(WHOLE_BP - self.allowed_bp).removesuffix(" %")
        return f"{self.measure}_p{quantile}<={_limit(self.limit_us)}"


TIMED: Final = frozenset({Measure.LATENCY, Measure.TTFT})

GUARDS: Final[tuple[Guard, ...]] = (
    Guard(measure=Measure.ERROR_RATE, allowed_bp=100),
    Guard(measure=Measure.LATENCY, allowed_bp=500, limit_us=2_000_000),
    Guard(measure=Measure.THUMBS_DOWN, allowed_bp=3000, required=False),
)
"""The guards of a rollout that names none; too few clients give thumbs to wait for them."""

DEFAULTS: Final[dict[Strategy, tuple[Step, ...]]] = {
    Strategy.BLUE_GREEN: (SetWeight(WHOLE_BP), Pause(HOUR_S), Analysis()),
    Strategy.CANARY: (
        SetWeight(500), Analysis(), SetWeight(5000), Analysis(), SetWeight(WHOLE_BP), Analysis(),
    ),
}  # fmt: skip

AT_ONCE: Final[tuple[Step, ...]] = (SetWeight(WHOLE_BP),)
"""The steps of a return to a release that was healthy a short while ago."""


def check(steps: Sequence[Step], guards: Sequence[Guard]) -> None:
    """Invalid unless the steps lead the candidate to all of the traffic, by guards named once."""
    if not 0 < len(steps) <= MOST_STEPS:
        raise errors.Invalid(f"A rollout has 1 to {MOST_STEPS} steps, not {len(steps)}.")
    if len(guards) > MOST_GUARDS:
        raise errors.Invalid(f"A rollout has at most {MOST_GUARDS} guards, not {len(guards)}.")
    if not isinstance(steps[0], SetWeight):
        raise errors.Invalid(f"The first step sets a weight; {words(steps[0])} does not.")
    weights = [step.weight_bp for step in steps if isinstance(step, SetWeight)]
    if weights[-1] != WHOLE_BP:
        raise errors.Invalid(
            f"The last weight of a rollout is 100 %, not {splits.percent(weights[-1])}."
        )
    if len({guard.name for guard in guards}) < len(guards):
        raise errors.Invalid("A guard is named twice; name each once.")
    if not guards and any(isinstance(step, Analysis) for step in steps):
        raise errors.Invalid("An analysis needs a guard; name one, or leave the analyses out.")


def ungated(steps: Sequence[Step]) -> int | None:
    """The position of the first weight after which time alone would lead on; None if there is none.

    Only an analysis or a person leads from one weight to the next, and from the last to the end.
    """
    at: int | None = None
    for position, step in enumerate(steps):
        match step:
            case SetWeight() if at is not None:
                return at
            case SetWeight():
                at = position
            case Analysis() | Pause(None):
                at = None
            case Pause():
                pass
    return at


def stages(steps: Sequence[Step]) -> int:
    """How many of the steps give the candidate traffic: its counts begin anew with each."""
    return sum(isinstance(step, SetWeight) and step.weight_bp > 0 for step in steps)


def words(step: Step) -> str:
    """A step in a sentence: 5 %, pause of 10 min, analysis of at most 1 h."""
    match step:
        case SetWeight(weight_bp):
            return splits.percent(weight_bp)
        case Pause(None):
            return "pause until promoted"
        case Pause(duration_s):
            return f"pause of {_duration(duration_s or 0)}"
        case Analysis(at_most_s):
            return f"analysis of at most {_duration(at_most_s)}"


def parse_steps(typed: Sequence[str]) -> tuple[Step, ...]:
    """Steps as they are typed, with an analysis wherever time alone would lead to a next weight.

    Raises:
        Invalid: one of them is no step.
    """
    steps: list[Step] = []
    for step in map(parse_step, typed):
        if isinstance(step, SetWeight) and ungated(steps) is not None:
            steps.append(Analysis())
        steps.append(step)
    if ungated(steps) is not None:
        steps.append(Analysis())
    return tuple(steps)


def parse_step(typed: str) -> Step:
    """A step as it is typed: 5%, pause, pause 10m, analysis, analysis 30m.

    Raises:
        Invalid: it is none of these.
    """
    text = typed.strip().lower()
    if (found := _PERCENT.fullmatch(text)) is not None:
        points = round(float(found[1]) * 100)
        if points <= WHOLE_BP:
            return SetWeight(points)
        raise errors.Invalid(f"The weight of a step is 0 to 100 %, not {typed.strip()}.")
    kind, _, rest = text.partition(" ")
    length = parse_duration(rest) if rest.strip() else None
    if kind == "pause":
        return Pause(length)
    if kind == "analysis":
        return Analysis() if length is None else Analysis(length)
    raise errors.Invalid(
        f"{typed.strip()!r} is no step; a step is 5%, pause, pause 10m, analysis or analysis 30m."
    )


def parse_guard(typed: str) -> Guard:
    """A guard as it is typed: latency_p95<=2s, ttft_p99<=500ms, error_rate<=1%.

    Raises:
        Invalid: it is none of these.
    """
    found = _GUARD.fullmatch(typed.strip().lower())
    refusal = errors.Invalid(
        f"{typed.strip()!r} is no guard; a guard is latency_p95<=2s, ttft_p99<=500ms, "
        "error_rate<=1% or thumbs_down<=30%."
    )
    if found is None or found[1] not in {each.value for each in Measure}:
        raise refusal
    measure = Measure(found[1])
    try:
        if measure in TIMED:
            limit = _LIMIT.fullmatch(found[3].strip())
            if limit is None or found[2] is None:
                raise refusal
            us = round(float(limit[1]) * (1000 if limit[2] == "ms" else 1_000_000))
            allowed = WHOLE_BP - int(found[2]) * 100
            guard = Guard(measure=measure, allowed_bp=allowed, limit_us=us)
        else:
            share = _PERCENT.fullmatch(found[3].strip())
            if share is None or found[2] is not None:
                raise refusal
            required = measure is not Measure.THUMBS_DOWN
            points = round(float(share[1]) * 100)
            guard = Guard(measure=measure, allowed_bp=points, required=required)
        return msgspec.convert(msgspec.to_builtins(guard), Guard)
    except msgspec.ValidationError as error:
        raise refusal from error


def parse_duration(typed: str) -> int:
    """Seconds of a duration as it is typed: 90s, 10m, 1h, 2d.

    Raises:
        Invalid: it is none of these, or outside 1 s to 30 days.
    """
    found = _DURATION.fullmatch(typed.strip().lower())
    seconds = 0 if found is None else int(found[1]) * _UNITS_S[found[2]]
    if not 1 <= seconds <= 30 * 24 * HOUR_S:
        raise errors.Invalid(f"{typed.strip()!r} is no duration; give 90s, 10m, 1h or 2d.")
    return seconds


def _duration(seconds: int) -> str:
    for unit, name in ((24 * HOUR_S, "d"), (HOUR_S, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _limit(us: int) -> str:
    return f"{us / _SECOND_US:g}s" if us >= _SECOND_US else f"{us / 1000:g}ms"
