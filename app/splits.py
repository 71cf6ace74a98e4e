"""Splits as people write and read them: what was typed, and what a change does.

Pure functions; the door checks all of it again. Imported by the commands and the screens, so that
both take the same words and say the same sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from app import words
from app.errors import BadWord

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
            f"The weights add up to {words.weight(total)}, not 100 %; name every arm, as in "
            "r1=90 r2=10."
        )
    return weights


def _named(release: str) -> str:
    """The same release always under the same name; what is too short for a hash is a number."""
    number = release.removeprefix("r")
    if number.isdecimal() and (number != release or len(number) < _HASH):
        return f"r{int(number)}"
    return release


def typed(split: Iterable[tuple[int, int]]) -> str:
    """A split as it is typed: r1=90 r2=0.25."""
    return " ".join(
        f"r{release}={words.weight(points).removesuffix(' %')}" for release, points in split
    )


def change(name: str, before: Mapping[int, int], after: Mapping[int, int]) -> str:
    """What a new split does: support  r1 90 % → 50 %  r2 10 % → 50 %."""
    changes = [
        f"r{release} {words.weight(before.get(release, 0))} → {words.weight(after.get(release, 0))}"
        for release in dict.fromkeys([*before, *after])
    ]
    return f"{name}  " + "  ".join(changes)
