"""Summaries of alerts, with the label and the value that they are about filled in.

The notation is Prometheus': `{{ $labels.service }}`, `{{ $value }}`, and `{{ $value | humanize }}`
with the functions of `_FORMATS`. Nothing else of Go's templates is known, so a summary cannot loop,
read or fail. Pure. Imported by `storage.alert_rules` and `engine.control.alerts`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from storage import errors

_PART: Final = re.compile(r"\{\{(.*?)\}\}")
_INSIDE: Final = re.compile(r"\s*\$(?:labels\.(\w+)|(value))\s*(?:\|\s*(\w+)\s*)?")


def _humanized(value: float, step: float = 1000.0, units: str = "kMGTPEZY") -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    prefix = ""
    for unit in units:
        if abs(value) < step:
            break
        prefix, value = unit, value / step
    if abs(value) < 1:
        for unit in "mµnp":
            if abs(value) >= 1:
                break
            prefix, value = unit, value * 1000
    return f"{value:.4g}{prefix}"


def _humanized_1024(value: float) -> str:
    prefix = ""
    for unit in ("ki", "Mi", "Gi", "Ti"):
        if abs(value) < 1024:  # noqa: PLR2004
            break
        prefix, value = unit, value / 1024
    return f"{value:.4g}{prefix}"


def _duration(value: float) -> str:
    if not math.isfinite(value):
        return f"{value:.4g}"
    sign, seconds = ("-" if value < 0 else ""), abs(value)
    if seconds < 1:
        return f"{sign}{_humanized(seconds)}s"
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, whole = divmod(rest, 60)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {whole}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {whole}s"
    if minutes:
        return f"{sign}{minutes}m {whole}s"
    return f"{sign}{seconds:.4g}s"


_FORMATS: Final[Mapping[str, Callable[[float], str]]] = MappingProxyType(
    {
        "humanize": _humanized,
        "humanize1024": _humanized_1024,
        "humanizeDuration": _duration,
        "humanizePercentage": lambda value: f"{value * 100:.4g}%",
    }
)


def check(text: str) -> None:
    """Prove that a text can be filled in.

    Raises:
        Invalid: a part of it is not known.
    """
    for part in _PART.finditer(text):
        found = _INSIDE.fullmatch(part[1])
        if found is None or (found[3] and (found[1] or found[3] not in _FORMATS)):
            known = ", ".join(_FORMATS)
            raise errors.Invalid(
                f"{part[0]} is not known; there are {{{{ $labels.NAME }}}}, {{{{ $value }}}} and "
                f"{{{{ $value | F }}}} with F of {known}"
            )
    if "{{" in _PART.sub("", text):
        raise errors.Invalid("a {{ is not closed")


def fill(text: str, labels: Mapping[str, str], value: float | None) -> str:
    """The text about one alert; what is not known of it is left empty."""

    def of(part: re.Match[str]) -> str:
        found = _INSIDE.fullmatch(part[1])
        if found is None:
            return ""
        if found[1]:
            return labels.get(found[1], "")
        if value is None:
            return "–"
        return _FORMATS[found[3]](value) if found[3] in _FORMATS else f"{value:.4g}"

    return _PART.sub(of, text)
