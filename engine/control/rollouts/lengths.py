"""Classes of prompts by length, so that latencies are compared for similar work.

Pure. Imported by `engine.control.rollouts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ENDS: Final = (128, 512, 2048)
"""Prompt tokens at which one class ends and the next begins."""
CLASSES: Final = range(len(ENDS) + 1)


def of(tokens: int) -> int:
    """The class of a prompt with so many tokens."""
    return sum(tokens >= end for end in ENDS)


def durations_ms(values: Iterable[tuple[int, int]], length: int) -> list[float]:
    """The milliseconds of those (prompt tokens, microseconds) whose prompts are of a class."""
    return [us / 1000 for tokens, us in values if of(tokens) == length]


def words(length: int) -> str:
    """A class in a sentence: under 128 tokens."""
    if length == len(ENDS):
        return f"from {ENDS[-1]} tokens"
    return f"under {ENDS[length]} tokens"
