"""Matchers of alerts as people type them: service=support, severity=~"warning|info".

Those of silences and of receivers. Pure. Imported by `storage` and by control.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from storage import alert_expressions, errors
from storage.alert_expressions import Match, Matcher

MOST: Final = 20
_TYPED: Final = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_LIMIT: Final = 300
_UNHEARD: Final = "unheard-of"
_SEVERITIES: Final = ("critical", "warning", "info")


def parse(typed: str) -> Matcher:
    """One matcher; quotes around the value may be left out.

    Raises:
        Invalid: it cannot be read, or its pattern is too much.
    """
    found = _TYPED.fullmatch(typed)
    if found is None or len(typed) > _LIMIT:
        raise errors.Invalid(f'{typed!r} is not a matcher such as service=support or rule=~"a|b".')
    value = found[3]
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    match = Match(found[2])
    if match in {Match.LIKE, Match.UNLIKE}:
        alert_expressions.check_regex(value)
    return Matcher("alertname" if found[1] == "rule" else found[1], match, value)


def check(typed: Iterable[str]) -> tuple[str, ...]:
    """Matchers in one notation.

    Raises:
        Invalid: one cannot be read, or there are too many.
    """
    found = [parse(each) for each in typed]
    if len(found) > MOST:
        raise errors.Invalid(f"There are at most {MOST} matchers.")
    return tuple(map(str, found))


def narrows(matchers: Iterable[str]) -> bool:
    """Whether they leave out an alert that there could be.

    Every alert has a name and a severity; any other label it may have or lack.
    """
    found = [parse(each) for each in matchers]
    return any(
        not matcher.fits(labels)
        for matcher in found
        for severity in _SEVERITIES
        for named in ({"alertname": _UNHEARD, "severity": severity},)
        for labels in (named, {matcher.label: _UNHEARD, **named})
    )


def fit(matchers: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Whether all of them fit the labels of an alert."""
    return all(parse(each).fits(labels) for each in matchers)
