"""Runbooks and their runs: the list, and one run in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRow:
    """A runbook that can be started; `broken` says why it cannot.

    `inputs` are (name, what it is, default); `fills` those that a look at the box fills in.
    """

    name: str
    title: str
    when: str
    steps: int
    inputs: tuple[tuple[str, str, str], ...] = ()
    fills: tuple[str, ...] = ()
    content: str = ""
    broken: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run in the list. `waits_for` is next, confirm or decide while it waits at `waits_at`."""

    id: int
    runbook: str
    inputs: str
    state: str
    waits_for: str = ""
    waits_at: str = ""
    taken_by: str = ""
    actor: str = ""
    began_at_us: int = 0
    ended_at_us: int | None = None
    reason: str = ""

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.ended_at_us is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbooks:
    """Runs, newest first, and runbooks by name."""

    runs: tuple[RunRow, ...] = ()
    books: tuple[BookRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One step of a run: its state, and what is known of it, a row each."""

    name: str
    sentence: str
    state: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRun:
    """One run in full. `effect` is what the step would do at which it waits.

    `events` are (when, who, what), oldest first; `people` are all who acted in it.
    """

    row: RunRow
    title: str
    steps: tuple[RunStep, ...] = ()
    events: tuple[tuple[int, str, str], ...] = ()
    people: tuple[str, ...] = ()
    effect: str = ""
