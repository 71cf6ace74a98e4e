"""Cheap checks of an answer, without a model or a reference: each passes or fails.

They detect visible defects: an empty or truncated answer, repetition, control tokens or broken
characters. They do not judge whether an answer is right. Pure; the standard library only. Imported
by `engine.control.scoring`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

LONGEST: Final = 20_000
"""Characters of an answer that are looked at, so that no answer takes long."""
_WORDS: Final = 4
_FEWEST: Final = 24
_DISTINCT: Final = 0.5
_CONTROL: Final = re.compile(
    r"<\|[a-z_]{2,40}\|>|\[/?INST\]|</?s>|\ufffd|[\x00-\x08\x0b\x0c\x0e-\x1f]"
)


def answered(completion: str, _finish_reason: str | None) -> bool:
    """There is an answer: more than white space."""
    return bool(completion.strip())


def finished(_completion: str, finish_reason: str | None) -> bool:
    """It was not cut off at the limit of tokens."""
    return finish_reason != "length"


def varied(completion: str, _finish_reason: str | None) -> bool:
    """It does not repeat itself: half of its runs of four words are distinct; short ones pass."""
    words = completion[:LONGEST].split()
    runs = [tuple(words[at : at + _WORDS]) for at in range(len(words) - _WORDS + 1)]
    return len(runs) < _FEWEST or len({*runs}) >= _DISTINCT * len(runs)


def clean(completion: str, _finish_reason: str | None) -> bool:
    """No control token of a chat template, no control or replacement character is in it."""
    return _CONTROL.search(completion[:LONGEST]) is None


CHECKS: Final[Mapping[str, Callable[[str, str | None], bool]]] = MappingProxyType(
    {"answered": answered, "finished": finished, "varied": varied, "clean": clean}
)
