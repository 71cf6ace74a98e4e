"""Verbs of incidents: open, note, rate, assign, move, link, and write the post-mortem."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage import names
from storage.control_socket.verbs.verb import Arguments, Danger, NoArguments, Process, Verb, Why
from storage.incident_states import Role as Duty
from storage.incident_states import Section, Severity
from storage.keys import Role

_Title = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,200}\Z")]
_Note = Annotated[str, Meta(min_length=1, max_length=4_000)]
_Person = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}\Z")]
_At = Annotated[int, Meta(ge=1, le=2**53)]
_Id = Annotated[int, Meta(ge=1, le=2**53)]
_Service = Annotated[str, Meta(pattern=rf"^{names.PATTERN}\Z", max_length=36)]


class Open(Arguments, frozen=True, kw_only=True):
    """A new incident. `began_at_us` is when clients were first affected; without it, now."""

    title: _Title
    severity: Severity = Severity.SEV2
    service: _Service | None = None
    began_at_us: _At | None = None


class Note(Arguments, frozen=True, kw_only=True):
    """A line of the timeline, and when it happened; without that, now."""

    sentence: _Note
    at_us: _At | None = None


class Rate(Arguments, frozen=True, kw_only=True):
    """How bad it is."""

    severity: Severity


class Assign(Arguments, frozen=True, kw_only=True):
    """A role and who has it; without a person it is free again."""

    role: Duty
    person: _Person | None = None


class Stable(Arguments, frozen=True, kw_only=True):
    """When clients ceased to be affected; without it, now."""

    at_us: _At | None = None


class Link(Arguments, frozen=True, kw_only=True):
    """A change that belongs to the incident, by its number in the ledger."""

    entry: _Id


class Write(Arguments, frozen=True, kw_only=True):
    """A section of the post-mortem; an empty text removes it."""

    section: Section
    text: Annotated[str, Meta(max_length=20_000)]


class AddItem(Arguments, frozen=True, kw_only=True):
    """What will be done, and by whom."""

    title: _Title
    owner: _Person


class Item(Arguments, frozen=True, kw_only=True):
    """An action item, by its number."""

    item: _Id


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "incidents.open", Open, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Open an incident",
        "incidents open TITLE [--service NAME] [--severity sev2]",
    ),
    Verb(
        "incidents.note", Note, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Add a line to the timeline of an incident",
        "incidents note INC-1 SENTENCE [--at 03:12]",
    ),
    Verb(
        "incidents.rate", Rate, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Change the severity of an incident",
        "incidents rate INC-1 sev1",
        Why.ASKED,
    ),
    Verb(
        "incidents.assign", Assign, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Give a role in an incident to a person",
        "incidents assign INC-1 commander kim",
    ),
    Verb(
        "incidents.stable", Stable, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Say that clients are no longer affected",
        "incidents stable INC-1 [--at 03:40]",
        Why.ASKED,
    ),
    Verb(
        "incidents.close", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Close an incident",
        "incidents close INC-1",
        Why.ASKED,
    ),
    Verb(
        "incidents.reopen", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Reopen an incident: clients are affected again",
        "incidents reopen INC-1",
        Why.ASKED,
    ),
    Verb(
        "incidents.link", Link, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Link a change to an incident",
        "incidents link INC-1 ENTRY",
        Why.ASKED,
    ),
    Verb(
        "incidents.write", Write, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Write a section of a post-mortem",
        "incidents write INC-1 root_cause TEXT",
    ),
    Verb(
        "incidents.add_item", AddItem, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Add an action item",
        "incidents items add INC-1 TITLE --owner kim",
    ),
    Verb(
        "incidents.finish_item", Item, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Mark an action item as done",
        "incidents items done INC-1 ITEM",
    ),
)  # fmt: skip
