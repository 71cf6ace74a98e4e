"""The names of a split model's parts: `name-00001-of-00003.gguf`, as libllama reads them.

From the name or address of any one part follow those of all, in order. Pure. Imported by
`engine.jobs` and `engine.registry`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from engine.registry.sources import BadSource

MOST: Final = 1000
"""Parts that a model may have; more are a mistake in the name."""

_PART: Final = re.compile(
    r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf(?P<at>@[^@]*)?", re.ASCII | re.DOTALL
)


def every(address: str) -> tuple[str, ...]:
    """The addresses of all parts; the address itself where it names no part of several.

    Raises:
        BadSource: the number of the part is not one of its count.
    """
    found = _PART.fullmatch(address)
    if found is None:
        return (address,)
    number, count = int(found["number"]), int(found["count"])
    if not 1 <= number <= count:
        raise BadSource(f"{address} names part {number} of {count}; the first part is 00001.")
    if count > MOST:
        raise BadSource(f"{address} names a model in {count} parts; there may be {MOST}.")
    if count == 1:
        return (address,)
    return tuple(
        f"{found['stem']}-{each:05d}-of-{count:05d}.gguf{found['at'] or ''}"
        for each in range(1, count + 1)
    )


def stray(names: Iterable[str], beside: Iterable[str]) -> list[str]:
    """Which of the files `beside` the parts `names` claim to be further parts of the same split."""
    known = set(names)
    matches = [found for each in known if (found := _PART.fullmatch(each))]
    splits = {(found["stem"], found["count"]) for found in matches}
    return sorted(
        each
        for each in beside
        if each not in known
        and (found := _PART.fullmatch(each))
        and (found["stem"], found["count"]) in splits
    )
