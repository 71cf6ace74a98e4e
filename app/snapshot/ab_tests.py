"""A/B tests: the list, and one in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AbTestRow:
    """One A/B test in the list; `result` is its state, or how it ended."""

    id: int
    service: str
    arms: tuple[int, ...]  # the control first
    goal: str
    result: str
    version: int
    winner: int | None
    promotable: bool  # there is a winner, which does not have all of the traffic yet
    under_way: bool
    well: bool  # it is not unhealthy, and no treatment did harm
    started_at_us: int
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AbTests:
    """The A/B tests, newest first, and one of them in full.

    `arms`, `goals` and `guards` are aligned rows of text below their titles; `waiting` is what the
    test waits for, or how it ended.
    """

    rows: tuple[AbTestRow, ...]
    shown: int = 0
    until_us: int | None = None
    arms: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    split: str = ""
    waiting: str = ""
