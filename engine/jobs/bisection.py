"""Finds the release that changed an answer: which one to ask next, and the result.

The releases are those of a service's history, from the oldest to the newest. The ends are asked
first, then the middle of what is left, so that n releases take about log2 n questions. If the
answer changed more than once, one of the changes is found. Pure. Imported by `engine.jobs.replay`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """This release is to be asked."""

    release: int


@dataclass(frozen=True, slots=True)
class Found:
    """`culprit` is the first release with the other answer, `good` the one before it."""

    good: int
    culprit: int


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The newest release still has the good answer, or the oldest never had it."""

    good: bool


def decide(releases: Sequence[int], good: Mapping[int, bool]) -> Ask | Found | Unchanged:
    """The next step, given the answers so far; `releases` are distinct, oldest first, at least one.

    `good` says of each release that was asked whether it gave the good answer.
    """
    oldest, newest = releases[0], releases[-1]
    for end in (oldest, newest):
        if end not in good:
            return Ask(end)
        if end == oldest and not good[end]:
            return Unchanged(good=False)
    if good[newest]:
        return Unchanged(good=True)
    low, high = 0, len(releases) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if releases[middle] not in good:
            return Ask(releases[middle])
        low, high = (middle, high) if good[releases[middle]] else (low, middle)
    return Found(releases[low], releases[high])
