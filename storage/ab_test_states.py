"""The states of an A/B test, the moves between them, and the reasons for a move.

Imported by `storage.ab_tests`, through which every package knows them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from storage import moves


class State(StrEnum):
    """Where an A/B test is.

    LOADING: a person started it, and the node loads the arms, which have weight 0 beside the
        control. Control moves on once every arm can answer, and ends it if one never can. A crash
        leaves it here, and the deadline follows from the row.
    RUNNING: its split is set, in the transaction of this move, and units are counted. Looks at the
        evidence are kept with the counts they were made of, so that a crash repeats the last one.
    UNHEALTHY: control found that the arms have not the units that their weights promise. It
        continues to count and never names a winner; a person finds the cause and stops it.
    ENDED: control or a person ended it. The control has all of the traffic again, in the
        transaction of this move, unless the split had been taken from the test. The result stays.
    PROMOTED: one arm has all of the traffic, because a person asked for that, before or after the
        end. Final.
    """

    LOADING = "loading"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    ENDED = "ended"
    PROMOTED = "promoted"


OPEN: Final = frozenset({State.LOADING, State.RUNNING, State.UNHEALTHY})
"""The states in which the test owns the split."""

EXPOSED: Final = frozenset({State.RUNNING, State.UNHEALTHY})
"""The states in which its arms have traffic."""

MOVES: Final = moves.Table(
    noun="A/B test",
    column="state",
    begins=frozenset({State.LOADING}),
    legal={
        State.LOADING: frozenset({State.RUNNING, State.ENDED}),
        State.RUNNING: frozenset({State.UNHEALTHY, State.ENDED, State.PROMOTED}),
        State.UNHEALTHY: frozenset({State.ENDED, State.PROMOTED}),
        State.ENDED: frozenset({State.PROMOTED}),
        State.PROMOTED: frozenset(),
    },
)


class Why(StrEnum):
    """Why an A/B test moved; the comment says who moved it."""

    STARTED = "started"  # a person
    LOADED = "loaded"  # control: every arm can answer
    MISMATCH = "mismatch"  # control: the units do not follow the weights
    WINNER = "winner"  # control: a treatment is better than the control
    CONTROL = "control"  # control: no treatment is better, and one is worse
    NO_DIFFERENCE = "no_difference"  # control: none that matters
    INCONCLUSIVE = "inconclusive"  # control: it ran as long as it may
    HARM = "harm"  # control: a treatment breaks a guard
    UNLOADABLE = "unloadable"  # control: an arm cannot answer
    LATE = "late"  # control: an arm did not load in time
    TAKEN = "taken"  # control: a person took the split, or removed the service
    STOPPED = "stopped"  # a person
    PROMOTED = "promoted"  # a person
