"""The states of an alert, the moves between them, and the reasons for a move.

Imported by `storage.alerts`, through which every package knows them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from storage import moves


class State(StrEnum):
    """Where an alert is: one element of a rule's expression, from its first holding to its end.

    PENDING: the expression holds, not yet for as long as the rule's `for`. Control moves it on at
        an evaluation, or ends it when the expression does not hold or has no data. A crash leaves
        it here; the time that control was away does not count.
    FIRING: the expression held long enough. Control ends it once the expression was measured and
        did not hold for `keep_firing_for`, or what it is about was removed; missing data does not
        end it. A person may. A crash leaves it
        here, and no notification is repeated.
    INACTIVE: it ended, and with it its acknowledgement. If the expression holds again, that is
        another alert. Final.
    """

    PENDING = "pending"
    FIRING = "firing"
    INACTIVE = "inactive"


MOVES: Final = moves.Table(
    noun="alert",
    column="state",
    begins=frozenset({State.PENDING, State.FIRING}),
    legal={
        State.PENDING: frozenset({State.FIRING, State.INACTIVE}),
        State.FIRING: frozenset({State.INACTIVE}),
        State.INACTIVE: frozenset(),
    },
)


class Why(StrEnum):
    """Why an alert moved; the value is the explanation."""

    HOLDS = "the expression holds"
    HELD = "the expression held for as long as the rule asks"
    UNMET = "the expression does not hold any more"
    NO_DATA = "there is no data; it was pending only"
    RULE_CHANGED = "the rule was changed"
    RULE_REMOVED = "the rule was removed"
    GONE = "what it was about was removed"
    CLOSED = "a person closed it"
