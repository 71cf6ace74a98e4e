"""What a controller answers to an intent: carry it out, or refuse it, and why.

A decision is data: the reason is one of a closed list, the sentence is what people read, the plan
is what `act` does. Decides nothing itself. Imported by `engine.control`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from storage import errors


class Reason(Enum):
    """Why an intent was carried out or not; the value says it for those who have not seen it."""

    APPLIED = "it was carried out"
    QUEUED = "a job carries it out"
    UNCHANGED = "there was nothing to change"
    UNKNOWN = "it names something that does not exist"
    TAKEN = "the name belongs to something else"
    MOVED = "the target changed since the person looked"
    FROZEN = "the target is frozen against changes"
    OWNED = "a rollout or an A/B test owns the target"
    IN_USE = "clients still use the target"
    INVALID = "a value is outside what is allowed"
    UNLOADABLE = "a worker has found that the model cannot be loaded"
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
    """Why, in which words, and what to do; without a plan the intent is refused."""

    reason: Reason
    sentence: str
    plan: object | None = None


class Refusal(Exception):
    """Raised inside a controller to refuse; carries the decision."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.decision = Decision(reason, sentence)


def of(error: errors.StorageError) -> Decision | None:
    """The refusal that an error of the store amounts to; None when the store itself failed."""
    for family, reason in _OF_ERRORS:
        if isinstance(error, family):
            return Decision(reason, str(error))
    return None
