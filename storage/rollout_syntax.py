"""Steps, guards and durations as people type them: 5 %, pause 10m, latency_p95<=2s; and back.

Pure, and without the store's libraries, as `rollout_steps` is. Imported by the commands and screens
that take them, and by tests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from storage import errors, rollout_steps
from storage.rollout_guards import OF_GOOD, RATED, TIMED, Guard, Measure
from storage.rollout_steps import HOUR_S, Analysis, Mirror, OnNo, Pause, SetWeight, Step, Webhook
from storage.splits import WHOLE_BP

_UNITS_S: Final = {"s": 1, "m": 60, "min": 60, "h": HOUR_S, "d": 24 * HOUR_S}
_DURATION: Final = re.compile(r"(\d{1,8})\s*(s|min|m|h|d)")
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*%?")
_LIMIT: Final = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)\s*(ms|s)")
_RATIO: Final = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*x")
_GUARD: Final = re.compile(r"([a-z_]+?)(?:_p(\d{1,2}))?\s*(<=|>=)\s*(.+)")
_MIRROR: Final = re.compile(r"mirror\s+(\d{1,3}(?:\.\d{1,2})?)\s*%?(?:\s+(\d{1,7}))?(?:\s+(\S+))?")


def parse_steps(typed: Sequence[str]) -> tuple[Step, ...]:
    """Steps as they are typed, with an analysis wherever time alone would lead to a next weight.

    It is added before the webhooks that stand there, so that these are asked with its verdicts.

    Raises:
        Invalid: one of them is no step.
    """
    steps: list[Step] = []
    for step in map(parse_step, typed):
        if isinstance(step, SetWeight):
            _gate(steps)
        steps.append(step)
    _gate(steps)
    return tuple(steps)


def _gate(steps: list[Step]) -> None:
    """Add an analysis, before the last webhooks, if time alone leads past these steps."""
    if rollout_steps.ungated(steps) is None:
        return
    at = len(steps)
    while at > 0 and isinstance(steps[at - 1], Webhook):
        at -= 1
    steps.insert(at, Analysis())


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
    if text.startswith("webhook"):
        return parse_webhook(typed.strip()[len("webhook") :])
    kind, _, rest = text.partition(" ")
    length = parse_duration(rest) if rest.strip() else None
    if kind == "pause":
        return Pause(length)
    if kind == "analysis":
        return Analysis() if length is None else Analysis(length)
    raise errors.Invalid(
        f"{typed.strip()!r} is not a step; a step is 5%, pause, pause 10m, analysis, analysis 30m, "
        "mirror 10% or webhook https://host/path."
    )


def parse_webhook(typed: str) -> Webhook:
    """A webhook as it is typed: https://host/path [10m] [abort].

    Raises:
        Invalid: it is none.
    """
    url, *rest = typed.split() or [""]
    usual = Webhook("https://host")
    on_no, at_most_s = usual.on_no, usual.at_most_s
    if rest and rest[-1].lower() in set(OnNo):
        on_no = OnNo(rest.pop().lower())
    if rest:
        at_most_s = parse_duration(rest.pop(0))
    if rest:
        raise errors.Invalid(
            f"{typed.strip()!r} is not a webhook; write https://host/path 10m abort."
        )
    try:
        return msgspec.convert(
            {"type": "webhook", "url": url, "at_most_s": at_most_s, "on_no": on_no}, Webhook
        )
    except msgspec.ValidationError as error:
        said = str(error).partition(" - at ")[0]
        raise errors.Invalid(f"{said[:1].upper()}{said[1:]}.") from error


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
            f"{typed!r} is not a step; a mirror is a share of up to 100 %, at least how many "
            "copies, and for how long at most: mirror 10% 300 24h."
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
        f"{typed.strip()!r} is not a guard; a guard is latency_p95<=2s, ttft_p99<=500ms, "
        "error_rate<=1%, thumbs_down<=30%, wrong<=5%, slowdown_p95<=2x, agreement>=80%, or of "
        "scored answers answered>=99%, finished>=95%, varied>=98% or clean>=99%."
    )


def _guard(measure: Measure, quantile: int | None, sign: str, limit: str) -> Guard | None:
    """The guard of what was typed; None if it does not fit the measure. Shares are unchecked."""
    if (sign == ">=") != (measure in OF_GOOD):
        return None
    if measure in TIMED or measure is Measure.SLOWDOWN:
        return None if quantile is None else _timed(measure, WHOLE_BP - quantile * 100, limit)
    found = _PERCENT.fullmatch(limit)
    if found is None or quantile is not None:
        return None
    points = round(float(found[1]) * 100)
    if measure in OF_GOOD:
        return Guard(measure=measure, allowed_bp=WHOLE_BP - points)
    return Guard(measure=measure, allowed_bp=points, required=measure not in RATED)


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
        raise errors.Invalid(f"{typed.strip()!r} is not a duration; write 90s, 10m, 1h or 2d.")
    return seconds


def typed(step: Step) -> str:
    """A step as it can be typed; `parse_step` reads it as the same."""
    match step:
        case SetWeight(weight_bp):
            return f"{weight_bp / 100:g}%"
        case Pause(None):
            return "pause"
        case Pause(duration_s):
            return f"pause {typed_duration(duration_s or 0)}"
        case Analysis(at_most_s):
            return f"analysis {typed_duration(at_most_s)}"
        case Mirror(share_bp, at_least, at_most_s):
            return f"mirror {share_bp / 100:g}% {at_least} {typed_duration(at_most_s)}"
        case Webhook(url, at_most_s, on_no):
            return f"webhook {url} {typed_duration(at_most_s)} {on_no.value}"


def typed_duration(seconds: int) -> str:
    """A duration as it can be typed, in the largest unit without a rest."""
    for unit in ("d", "h", "m"):
        if seconds % _UNITS_S[unit] == 0 and seconds:
            return f"{seconds // _UNITS_S[unit]}{unit}"
    return f"{seconds}s"
