"""The states of an incident, the moves between them, and the fixed words of its record.

Imported by `storage.incidents`, through which every package knows them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from storage import moves


class State(StrEnum):
    """How far an incident is.

    ACTIVE: clients are affected, or may be. A person or a critical alert opened it; a person, or a
        critical alert that fires again, reopens it. Each move is one transaction.
    STABLE: the impact has ended, the cause may not be known yet. A person says so, or control once
        every alert that joined it is resolved. Its impact is counted up to here.
    CLOSED: a person says that nothing is left to do but the post-mortem, which may still be edited.
    """

    ACTIVE = "active"
    STABLE = "stable"
    CLOSED = "closed"


OPEN: Final = frozenset({State.ACTIVE, State.STABLE})
"""The states in which an incident is still being worked on."""

MOVES: Final = moves.Table(
    noun="incident",
    column="state",
    begins=frozenset({State.ACTIVE}),
    legal={
        State.ACTIVE: frozenset({State.STABLE, State.CLOSED}),
        State.STABLE: frozenset({State.ACTIVE, State.CLOSED}),
        State.CLOSED: frozenset({State.ACTIVE}),
    },
)


class Severity(StrEnum):
    """How bad it is for clients."""

    SEV1 = "sev1"  # a service does not answer, or answers what does harm
    SEV2 = "sev2"  # a service answers with errors, or too slowly
    SEV3 = "sev3"  # no client notices yet


class Role(StrEnum):
    """Who does what during an incident, as the incident command system divides it."""

    COMMANDER = "commander"  # decides; the only role that has to be filled
    OPERATIONS = "operations"  # acts on the box
    COMMUNICATIONS = "communications"  # tells those who are affected
    SCRIBE = "scribe"  # keeps the timeline


class Kind(StrEnum):
    """What an event of an incident records; the comment says who adds it."""

    OPENED = "opened"  # a person, or control for a critical alert
    ALERT = "alert"  # control: an alert joined it, or was resolved
    MOVED = "moved"  # a person, or control: its state changed
    NOTE = "note"  # a person
    SEVERITY = "severity"  # a person
    ROLE = "role"  # a person
    LINK = "link"  # a person: a change that belongs to it


class Section(StrEnum):
    """The sections of a post-mortem that people write; the others are computed."""

    SUMMARY = "summary"
    ROOT_CAUSE = "root_cause"
    TRIGGER = "trigger"
    DETECTION = "detection"
    RESOLUTION = "resolution"
    WENT_WELL = "went_well"
    WENT_WRONG = "went_wrong"
    GOT_LUCKY = "got_lucky"
