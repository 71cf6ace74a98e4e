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
_RATIO: Final = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*x")
_GUARD: Final = re.compile(r"([a-z_]+?)(?:_p(\d{1,2}))?\s*(<=|>=)\s*(.+)")
_MIRROR: Final = re.compile(r"mirror\s+(\d{1,3}(?:\.\d{1,2})?)\s*%?(?:\s+(\d{1,7}))?(?:\s+(\S+))?")


class SetWeight(msgspec.Struct, frozen=True, tag="set_weight"):
    """The candidate gets this share of the traffic, the stable release the rest."""

    weight_bp: Annotated[int, Meta(ge=0, le=WHOLE_BP)]


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Wait so long; None: until a person promotes the rollout."""

    duration_s: _Seconds | None = None


class Analysis(msgspec.Struct, frozen=True, tag="analysis"):
    """Wait until every guard that must be shown to hold is; after `at_most_s`, pause."""

    at_most_s: _Seconds = HOUR_S


class Mirror(msgspec.Struct, frozen=True, tag="mirror"):
    """The candidate gets copies of this share of the requests, and no user gets its answers.

    Over once every guard that must be shown to hold is, by `at_least` copies; after `at_most_s`,
    pause.
    """

    share_bp: Annotated[int, Meta(ge=1, le=WHOLE_BP)] = 1000
    at_least: Annotated[int, Meta(ge=1, le=1_000_000)] = 300
    at_most_s: _Seconds = 24 * HOUR_S


Step = SetWeight | Pause | Analysis | Mirror


class Strategy(StrEnum):
    """How a candidate comes to all of the traffic."""

    BLUE_GREEN = "blue_green"  # at once, with the stable release loaded until the soak has ended
    CANARY = "canary"  # by steps
    SHADOW = "shadow"  # by copies of requests first, then by steps


class Measure(StrEnum):
    """What a guard counts among the candidate's requests; the comment says which it is about."""

    LATENCY = "latency"  # executed requests that took longer than the limit, or failed
    TTFT = "ttft"  # executed requests whose first token took longer, or that failed
    ERROR_RATE = "error_rate"  # executed requests that failed
    THUMBS_DOWN = "thumbs_down"  # thumbs that clients gave
    SLOWDOWN = "slowdown"  # copies that took longer than so many times stable's answer, or failed
    AGREEMENT = "agreement"  # copies whose answer differs from stable's, or that failed


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """At most this share of the candidate's requests may exceed a limit, or fail.

    "p95 at most 2 s" is a share of 5 % over 2 s. `limit_us` is given for durations alone,
    `limit_percent` for a slowdown: of the time of stable's answer. Harm ends a rollout whatever the
    guard; where it is `required`, an analysis passes only once the guard is shown to hold.
    """

    measure: Measure
    allowed_bp: _Share
    limit_us: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    limit_percent: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a duration without a limit, and a share with one."""
        if (self.limit_us is not None) != (self.measure in TIMED):
            raise ValueError("a limit belongs to latency and ttft, and only to them")
        if (self.limit_percent is not None) != (self.measure is Measure.SLOWDOWN):
            raise ValueError("a limit in percent belongs to slowdown, and only to it")

    @property
    def name(self) -> str:
        """As it is typed: latency_p95<=2s, error_rate<=1%, agreement>=80%."""
        kept = splits.percent(WHOLE_BP - self.allowed_bp).replace(" ", "")
        if self.measure is Measure.AGREEMENT:
            return f"{self.measure}>={kept}"
        quantile = kept.removesuffix("%")
        if self.limit_percent is not None:
            return f"{self.measure}_p{quantile}<={self.limit_percent / 100:g}x"
        if self.limit_us is not None:
            return f"{self.measure}_p{quantile}<={_limit(self.limit_us)}"
        return f"{self.measure}<={splits.percent(self.allowed_bp).replace(' ', '')}"

    def counts(self, *, copies: bool) -> bool:
        """Whether it is about copies (of a mirror), or about the users' requests of a candidate."""
        if copies:
            return self.measure is not Measure.THUMBS_DOWN
        return self.measure not in OF_COPIES


TIMED: Final = frozenset({Measure.LATENCY, Measure.TTFT})
OF_COPIES: Final = frozenset({Measure.SLOWDOWN, Measure.AGREEMENT})

GUARDS: Final[tuple[Guard, ...]] = (
    Guard(measure=Measure.ERROR_RATE, allowed_bp=100),
    Guard(measure=Measure.LATENCY, allowed_bp=500, limit_us=2_000_000),
    Guard(measure=Measure.THUMBS_DOWN, allowed_bp=3000, required=False),
)
"""The guards of a rollout that names none; too few clients give thumbs to wait for them."""

_CANARY: Final[tuple[Step, ...]] = (
    SetWeight(500), Analysis(), SetWeight(5000), Analysis(), SetWeight(WHOLE_BP), Analysis(),
)  # fmt: skip
DEFAULTS: Final[dict[Strategy, tuple[Step, ...]]] = {
    Strategy.BLUE_GREEN: (SetWeight(WHOLE_BP), Pause(HOUR_S), Analysis()),
    Strategy.CANARY: _CANARY,
    Strategy.SHADOW: (Mirror(), Pause(), *_CANARY),
}

AT_ONCE: Final[tuple[Step, ...]] = (SetWeight(WHOLE_BP),)
"""The steps of a return to a release that was healthy a short while ago."""


def check(steps: Sequence[Step], guards: Sequence[Guard]) -> None:
    """Invalid unless the steps lead the candidate to all of the traffic, by guards named once."""
    if not 0 < len(steps) <= MOST_STEPS:
        raise errors.Invalid(f"A rollout has 1 to {MOST_STEPS} steps, not {len(steps)}.")
    if len(guards) > MOST_GUARDS:
        raise errors.Invalid(f"A rollout has at most {MOST_GUARDS} guards, not {len(guards)}.")
    if not isinstance(steps[0], SetWeight | Mirror):
        raise errors.Invalid(
            f"The first step sets a weight or mirrors requests; {words(steps[0])} does not."
        )
    first = next((at for at, step in enumerate(steps) if isinstance(step, SetWeight)), len(steps))
    if any(isinstance(step, Mirror) for step in steps[first:]):
        raise errors.Invalid("Requests are mirrored before the first weight, not after it.")
    weights = [step.weight_bp for step in steps if isinstance(step, SetWeight)]
    if not weights or weights[-1] != WHOLE_BP:
        last = splits.percent(weights[-1]) if weights else "none"
        raise errors.Invalid(f"The last weight of a rollout is 100 %, not {last}.")
    if len({guard.name for guard in guards}) < len(guards):
        raise errors.Invalid("A guard is named twice; name each once.")
    if not guards and any(isinstance(step, Analysis | Mirror) for step in steps):
        raise errors.Invalid("An analysis needs a guard; name one, or leave the analyses out.")


def fits(strategy: Strategy, steps: Sequence[Step], guards: Sequence[Guard]) -> None:
    """Invalid unless a shadow begins with a mirror, and nothing else has one or guards copies."""
    mirrors = [isinstance(step, Mirror) for step in steps]
    if strategy is Strategy.SHADOW and not mirrors[0]:
        raise errors.Invalid("The first step of a shadow is a mirror: mirror 10%.")
    if strategy is not Strategy.SHADOW and any(mirrors):
        raise errors.Invalid("Only a shadow mirrors requests; give it the strategy shadow.")
    if strategy is not Strategy.SHADOW:
        of_requests(guards)


def of_requests(guards: Sequence[Guard]) -> None:
    """Invalid if one is about the copies of a shadow."""
    for guard in guards:
        if not guard.counts(copies=False):
            raise errors.Invalid(f"{guard.name} compares copies, which only a shadow has.")


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
            case Analysis() | Mirror() | Pause(None):
                at = None
            case Pause():
                pass
    return at


def stages(steps: Sequence[Step]) -> int:
    """How many of the steps give the candidate requests: its counts begin anew with each."""
    return sum(
        isinstance(step, Mirror) or (isinstance(step, SetWeight) and step.weight_bp > 0)
        for step in steps
    )


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
        case Mirror(share_bp, at_least, at_most_s):
            share, most = splits.percent(share_bp), _duration(at_most_s)
            return f"mirror {share}, {at_least}+ copies, at most {most}"


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
    """A step as it is typed: 5%, pause, pause 10m, analysis 30m, mirror 10% [300 [24h]].

    Raises:
        Invalid: it is none of these.
    """
    text = typed.strip().lower()
    if (found := _PERCENT.fullmatch(text)) is not None:
        points = round(float(found[1]) * 100)
        if points <= WHOLE_BP:
            return SetWeight(points)
        raise errors.Invalid(f"The weight of a step is 0 to 100 %, not {typed.strip()}.")
    if (found := _MIRROR.fullmatch(text)) is not None:
        return _mirror(typed.strip(), found)
    kind, _, rest = text.partition(" ")
    length = parse_duration(rest) if rest.strip() else None
    if kind == "pause":
        return Pause(length)
    if kind == "analysis":
        return Analysis() if length is None else Analysis(length)
    raise errors.Invalid(
        f"{typed.strip()!r} is no step; a step is 5%, pause, pause 10m, analysis, analysis 30m or "
        "mirror 10%."
    )


def _mirror(typed: str, found: re.Match[str]) -> Mirror:
    usual = Mirror()
    step = Mirror(
        share_bp=round(float(found[1]) * 100),
        at_least=int(found[2] or usual.at_least),
        at_most_s=parse_duration(found[3]) if found[3] else usual.at_most_s,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(step), Mirror)
    except msgspec.ValidationError as error:
        raise errors.Invalid(
            f"{typed!r} is no step; a mirror is a share of up to 100 %, the copies that it takes "
            "at least, and how long it takes at most: mirror 10% 300 24h."
        ) from error


def parse_guard(typed: str) -> Guard:
    """A guard as it is typed: latency_p95<=2s, error_rate<=1%, slowdown_p95<=2x, agreement>=80%.

    Raises:
        Invalid: it is none of these.
    """
    found = _GUARD.fullmatch(typed.strip().lower())
    guard: Guard | None = None
    try:
        if found is not None and found[1] in {each.value for each in Measure}:
            quantile = None if found[2] is None else int(found[2])
            guard = _guard(Measure(found[1]), quantile, found[3], found[4].strip())
        if guard is not None:
            return msgspec.convert(msgspec.to_builtins(guard), Guard)
    except msgspec.ValidationError:
        pass
    raise errors.Invalid(
        f"{typed.strip()!r} is no guard; a guard is latency_p95<=2s, ttft_p99<=500ms, "
        "error_rate<=1%, thumbs_down<=30%, slowdown_p95<=2x or agreement>=80%."
    )


def _guard(measure: Measure, quantile: int | None, sign: str, limit: str) -> Guard | None:
    """The guard of what was typed; None if it does not fit the measure. Shares are unchecked."""
    if (sign == ">=") != (measure is Measure.AGREEMENT):
        return None
    if measure in TIMED or measure is Measure.SLOWDOWN:
        return None if quantile is None else _timed(measure, WHOLE_BP - quantile * 100, limit)
    found = _PERCENT.fullmatch(limit)
    if found is None or quantile is not None:
        return None
    points = round(float(found[1]) * 100)
    if measure is Measure.AGREEMENT:
        return Guard(measure=measure, allowed_bp=WHOLE_BP - points)
    required = measure is not Measure.THUMBS_DOWN
    return Guard(measure=measure, allowed_bp=points, required=required)


def _timed(measure: Measure, allowed_bp: int, limit: str) -> Guard | None:
    found = (_RATIO if measure is Measure.SLOWDOWN else _LIMIT).fullmatch(limit)
    if found is None:
        return None
    if measure is Measure.SLOWDOWN:
        percent = round(float(found[1]) * 100)
        return Guard(measure=measure, allowed_bp=allowed_bp, limit_percent=percent)
    us = round(float(found[1]) * (1000 if found[2] == "ms" else 1_000_000))
    return Guard(measure=measure, allowed_bp=allowed_bp, limit_us=us)


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
