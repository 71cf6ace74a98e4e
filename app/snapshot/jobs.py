"""Jobs: the list, and one in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One job in the list; `done` of `total` units of its step, None where nothing is counted."""

    id: int
    kind: str
    target: str
    state: str
    step: str
    done: int | None
    total: int | None
    unit: str
    rate_per_s: int | None
    eta_us: int | None
    reason: str
    actor: str
    created_at_us: int

    @property
    def share(self) -> float | None:
        """The part of the step that is done."""
        return None if not self.total or self.done is None else min(1.0, self.done / self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStep:
    """A step of a job; `took_us` once it has ended."""

    name: str
    started: bool
    took_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job in full, with the newest lines of its log as (when, what)."""

    row: JobRow
    attempt: int
    failures: int
    max_failures: int
    started_at_us: int | None
    ended_at_us: int | None
    steps: tuple[JobStep, ...]
    lines: tuple[tuple[int, str], ...]
