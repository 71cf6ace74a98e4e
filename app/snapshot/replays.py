"""Replays: the list, and one in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRow:
    """One replay in the list; `on` are the releases that are asked, `asked` how many requests."""

    id: int
    kind: str
    service: str
    on: str
    asked: str
    job: str
    under_way: bool
    asked_at_us: int
    by: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One replay as rows of text."""

    row: ReplayRow
    lines: tuple[str, ...]
