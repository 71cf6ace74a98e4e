"""The states of an intent and the moves between them.

Imported by `storage.intents`, through which every package knows them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from storage import moves


class State(StrEnum):
    """How far an intent is.

    ACCEPTED: the node stored it durably before acknowledging it. A crash leaves it here, and it is
        claimed later.
    CLAIMED: control or the runner claimed it to decide and act. If that process dies, its next
        start puts the intent back (`reclaim`); what is done for an intent is therefore done in the
        transaction that ends it, or is safe to do twice. Long work is claimed by a job, which is
        durable itself and ends the intent when it ends.
    APPLIED: it was carried out, or there was nothing to change; `outcome` says what. Final.
    REFUSED: a rule, or a change since the person looked, forbids it; `outcome` says why. Final.
    FAILED: it was tried and did not work; `outcome` says what happened. Final.
    """

    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"


MOVES: Final = moves.Table(
    noun="intent",
    column="state",
    begins=frozenset({State.ACCEPTED}),
    legal={
        State.ACCEPTED: frozenset({State.CLAIMED}),
        State.CLAIMED: frozenset({State.APPLIED, State.REFUSED, State.FAILED, State.ACCEPTED}),
        State.APPLIED: frozenset(),
        State.REFUSED: frozenset(),
        State.FAILED: frozenset(),
    },
)
