"""Splits as they are typed: r1=90 r2=10.

Pure; the control socket checks all of it again. Imported by the commands and the screens, so that
both accept the same input. `storage.splits` words splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from app import words
from app.errors import BadWord
from storage import splits

_WHOLE_BP: Final = 10_000
_ARM: Final = re.compile(r"(r?[0-9]{1,18}|[0-9a-f]{6,64})=([0-9]{1,3})(?:\.([0-9]{1,2}))?%?")
_HASH: Final = 6  # digits by which a release's hash may be named, at least
_SHOWN: Final = 40  # characters of what was typed that a sentence repeats


def parse(arms: Iterable[str]) -> dict[str, int]:
    """Basis points by release out of words such as r1=90 and r2=0.25; a bare 1 is r1.

    Raises:
        BadWord: with a sentence for the person.
    """
    weights: dict[str, int] = {}
    for word in arms:
        found = _ARM.fullmatch(word)
        points = int(found[2]) * 100 + int((found[3] or "").ljust(2, "0")) if found else -1
        if found is None or not 0 <= points <= _WHOLE_BP:
            raise BadWord(
                f"{words.cut(word, _SHOWN)!r} is not RELEASE=PERCENT, as in r1=90: 0 to 100 with "
                "at most two decimals."
            )
        release = _named(found[1])
        if release in weights:
            raise BadWord(f"{release} is named twice; give each arm once.")
        weights[release] = points
    total = sum(weights.values())
    if total != _WHOLE_BP:
        raise BadWord(
            f"The weights add up to {splits.percent(total)}, not 100 %; name every arm, as in "
            "r1=90 r2=10."
        )
    return weights


def _named(release: str) -> str:
    """The same release always under the same name; what is too short for a hash is a number."""
    number = release.removeprefix("r")
    if number.isdecimal() and (number != release or len(number) < _HASH):
        return f"r{int(number)}"
    return release
