"""Decisions of controllers: the reason, a sentence for people, and what to do.

A decision is data: the reason is one of a closed list, the sentence is for people, the plan is what
`act` does. Decides nothing itself. Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from storage import errors


class Reason(Enum):
    """Why something is done or not; the value is the explanation of the name."""

    IDLE = "there is nothing to do"
    WAITING = "something waits to be carried out"
    APPLIED = "it was carried out"
    QUEUED = "a job carries it out"
    UNCHANGED = "there was nothing to change"
    UNKNOWN = "it names something that does not exist"
    TAKEN = "the name belongs to something else"
    MOVED = "the target changed since the person looked"
    FROZEN = "the target is frozen against changes"
    OWNED = "a rollout or an A/B test owns the target"
    PROTECTED = "only admins may change the target"
    IN_USE = "clients still use the target"
    INVALID = "a value is outside what is allowed"
    UNLOADABLE = "a worker has found that the model cannot be loaded"
    TOO_LARGE = "the memory that is free does not suffice"
    UNFIT = "the file does not fit what was asked"
    FAULT = "the controller failed; its log has the trace"


_OF_ERRORS: Final[tuple[tuple[type[errors.StorageError], Reason], ...]] = (
    (errors.NotFound, Reason.UNKNOWN),
    (errors.AlreadyExists, Reason.TAKEN),
    (errors.Moved, Reason.MOVED),
    (errors.Frozen, Reason.FROZEN),
    (errors.NotOwner, Reason.OWNED),
    (errors.Invalid, Reason.INVALID),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """The reason, its sentence, what to do, and when to look again (UTC microseconds).

    Without a plan nothing is done; as the answer to an intent, that refuses it.
    """

    reason: Reason
    sentence: str
    plan: object | None = None
    due_us: int | None = None


class Refusal(Exception):
    """Raised inside a controller to refuse; carries the decision."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.decision = Decision(reason, sentence)


def first(decisions: Sequence[Decision], idle: str) -> Decision:
    """The first decision with a plan; without one, when to look again at the earliest.

    `idle` is the sentence for having nothing to do.
    """
    for decision in decisions:
        if decision.plan is not None:
            return decision
    due = min((each.due_us for each in decisions if each.due_us is not None), default=None)
    return Decision(Reason.IDLE, idle, due_us=due)


def of(error: errors.StorageError) -> Decision | None:
    """The refusal that an error of the store means; None when the store itself failed."""
    for family, reason in _OF_ERRORS:
        if isinstance(error, family):
            return Decision(reason, str(error))
    return None
