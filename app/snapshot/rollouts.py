"""Rollouts: the list, and one in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRow:
    """One rollout in the list.

    `step` counts from 1, `doing` is that step in words; `sentence` is what it waits for, or how it
    ended. `following` is where a promotion leads, empty where there is none yet; `undo` what an
    undo does, else `no_undo` is why there is nothing to undo.
    """

    id: int
    revision: int  # of its service
    service: str
    strategy: str
    stable: str  # r1; empty for the first release of a service
    candidate: str
    state: str
    phase: str
    under_way: bool
    newest: bool  # of its service
    step: int | None
    steps: int
    doing: str
    weight_bp: int | None  # of the candidate, while the rollout owns the split
    started_by: str
    moved_at_us: int
    version: int
    sentence: str
    until_us: int | None
    following: str
    undo: str
    no_undo: str

    @property
    def change(self) -> str:
        """From which release to which."""
        return f"{self.stable or '–'} → {self.candidate}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMove:
    """One move of a rollout."""

    at_us: int
    who: str
    state: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One rollout: its tree as lines, and its moves, newest first."""

    row: RolloutRow
    tree: tuple[str, ...]
    moves: tuple[RolloutMove, ...]
