"""The states of a run of a runbook, and why one waits for a person.

Imported by `storage.runs`, and through it by every room.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from storage import moves


class State(StrEnum):
    """How far a run is.

    RUNNING: the runner walks its steps for the intent that drives it. If the runner dies, its next
        start resumes at the first step that has not ended.
    WAITING: it stopped before a step and a person decides; `waits_for` says what. No process works
        on it, so a crash changes nothing.
    DONE: all steps succeeded or were skipped. Final.
    FAILED: a step did not succeed; `reason` names it. What earlier steps changed is kept. Final.
    ABORTED: a person ended it, with a reason. What its steps changed is kept. Final.
    """

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"


class Waits(StrEnum):
    """What a waiting run needs of a person."""

    NEXT = "next"  # to carry the step out, or skip it
    CONFIRM = "confirm"  # to do the step by hand and say so
    DECIDE = "decide"  # the step failed: retry it, skip it or abort


class Pace(StrEnum):
    """When a run stops by itself, apart from manual steps."""

    THROUGH = "through"  # never; a step that fails ends the run
    STEP = "step"  # before each action, and at a step that fails
    ALONE = "alone"  # before each action that it may not take alone, and at a step that fails


MOVES: Final = moves.Table(
    noun="run",
    column="state",
    begins=frozenset({State.RUNNING}),
    legal={
        State.RUNNING: frozenset({State.WAITING, State.DONE, State.FAILED, State.ABORTED}),
        State.WAITING: frozenset({State.RUNNING, State.ABORTED}),
        State.DONE: frozenset(),
        State.FAILED: frozenset(),
        State.ABORTED: frozenset(),
    },
)
