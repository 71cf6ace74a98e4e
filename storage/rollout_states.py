"""The states of a rollout, the moves between them, and the reasons for a move.

Imported by `storage.rollouts`, through which every package knows them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from storage import moves


class State(StrEnum):
    """Where a rollout is.

    LOADING: a person started or retried it, and the node loads the candidate, which is an arm of
        weight 0. Control moves on once the candidate can answer, and aborts if it never can. A
        crash leaves it here, and the deadline is in the row.
    SMOKING: a job asks the candidate a few real requests. Control moves on when the job succeeds
        and aborts when it fails; a job outlives a crash.
    STEPPING: the step `step` is under way, with the split that its weight asks for. Control enters
        each step in one transaction with its split, so that a crash leaves the one or the next.
    PAUSED: a person, a step, or an analysis without a result stopped it, and a person continues it.
        The guards are still looked at: harm aborts it from here, too.
    ABORTED: the traffic is back on the stable release, in the transaction of this move. The
        candidate stays loaded until `keep_until_us`; a person may retry.
    COMPLETED: the candidate has all of the traffic and is the stable release from now on.
    UNDONE: after it had completed, a person went back to the release before. Final.
    """

    LOADING = "loading"
    SMOKING = "smoking"
    STEPPING = "stepping"
    PAUSED = "paused"
    ABORTED = "aborted"
    COMPLETED = "completed"
    UNDONE = "undone"


OPEN: Final = frozenset({State.LOADING, State.SMOKING, State.STEPPING, State.PAUSED})
"""The states in which the rollout owns the split."""

MOVES: Final = moves.Table(
    noun="rollout",
    column="state",
    begins=frozenset({State.LOADING, State.COMPLETED}),
    legal={
        State.LOADING: frozenset({State.SMOKING, State.PAUSED, State.ABORTED}),
        State.SMOKING: frozenset({State.STEPPING, State.PAUSED, State.ABORTED}),
        State.STEPPING: frozenset(
            {State.STEPPING, State.PAUSED, State.ABORTED, State.COMPLETED}
        ),
        State.PAUSED: frozenset(
            {State.LOADING, State.SMOKING, State.STEPPING, State.ABORTED, State.COMPLETED}
        ),
        State.ABORTED: frozenset({State.LOADING}),
        State.COMPLETED: frozenset({State.UNDONE}),
        State.UNDONE: frozenset(),
    },
)  # fmt: skip


class Phase(StrEnum):
    """A rollout in one word, as scripts ask for it."""

    HEALTHY = "Healthy"  # the candidate has all of the traffic
    PROGRESSING = "Progressing"
    PAUSED = "Paused"  # a person has to continue it
    DEGRADED = "Degraded"  # the traffic went back to the stable release


PHASES: Final = {
    State.PAUSED: Phase.PAUSED,
    State.ABORTED: Phase.DEGRADED,
    State.COMPLETED: Phase.HEALTHY,
    State.UNDONE: Phase.DEGRADED,
}


class Why(StrEnum):
    """Why a rollout moved; the comment says who moved it."""

    STARTED = "started"  # a person
    FIRST = "first"  # a person: the first release of a service
    LOADED = "loaded"  # control: the candidate can answer
    SMOKED = "smoked"  # control: it answered the smoke requests
    WAITED = "waited"  # control: a pause is over
    PASSED = "passed"  # control: an analysis shows that the guards hold
    NEXT = "next"  # control: the step was done at once
    AGREED = "agreed"  # control: a webhook answered yes
    DECLINED = "declined"  # control: a webhook answered no
    UNANSWERED = "unanswered"  # control: a webhook did not answer
    FINISHED = "finished"  # control: there is no further step
    PROMOTED = "promoted"  # a person: on to the next step
    PROMOTED_FULLY = "promoted_fully"  # a person: all traffic at once
    RESUMED = "resumed"  # a person: on from where a person paused it
    HELD = "held"  # a person paused it
    ASKED = "asked"  # control: a step waits for a person
    INCONCLUSIVE = "inconclusive"  # control: an analysis ended without a result
    UNMEASURED = "unmeasured"  # control: an analysis could not be computed
    HARM = "harm"  # control: a guard is broken
    UNLOADABLE = "unloadable"  # control: the candidate cannot answer
    LATE = "late"  # control: the candidate did not load in time
    SMOKE_FAILED = "smoke_failed"  # control: a smoke request was not answered
    TAKEN = "taken"  # control: a person went back by `services undo`
    ABORTED = "aborted"  # a person
    RETRIED = "retried"  # a person
    UNDONE = "undone"  # a person
