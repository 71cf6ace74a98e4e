"""Verbs of prompts: versions added and imported, labels moved and protected."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import Arguments, Danger, Line, Name, Process, Verb, Why
from storage.keys import Role
from storage.prompts import Message, Variable

_Messages = Annotated[tuple[Message, ...], Meta(min_length=1, max_length=100)]
_Variables = Annotated[tuple[Variable, ...], Meta(max_length=100)]
_Tag = Annotated[str, Meta(min_length=5, max_length=40)]
_Number = Annotated[int, Meta(ge=1, le=2**31)]


class Add(Arguments, frozen=True, kw_only=True):
    """The next version of a prompt."""

    prompt: Name
    messages: _Messages
    variables: _Variables = ()
    response_schema: dict[str, Any] | None = None
    tag: _Tag | None = None
    parent: _Number | None = None
    comment: Line = ""


class Label(Arguments, frozen=True, kw_only=True):
    """Point a label of the target at one of its versions."""

    label: Name
    number: _Number


class Unlabel(Arguments, frozen=True, kw_only=True):
    """Remove a label of the target; the version that it points at stays."""

    label: Name


class VersionImport(Arguments, frozen=True, kw_only=True):
    """One version as a tree of files has it; without `author` it is the person who imports it."""

    prompt: Name
    number: _Number
    messages: _Messages
    variables: _Variables = ()
    response_schema: dict[str, Any] | None = None
    tag: _Tag | None = None
    parent: _Number | None = None
    author: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    comment: Line = ""
    created_at_us: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class Import(Arguments, frozen=True, kw_only=True):
    """Versions with their numbers, all of them or none; `dry_run` checks and changes nothing."""

    versions: Annotated[tuple[VersionImport, ...], Meta(min_length=1, max_length=10_000)]
    dry_run: bool = False


class Undo(Arguments, frozen=True, kw_only=True):
    """A label of the target, and the move of it to go back to, by its id."""

    label: Name
    to: Annotated[int, Meta(ge=1, le=2**53)]


class Protect(Arguments, frozen=True, kw_only=True):
    """A label of the target that only admins move, or no longer."""

    label: Name


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "prompts.add", Add, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Add a prompt version",
        "prompts add FILE",
    ),
    Verb(
        "prompts.label", Label, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Move a prompt's label",
        "prompts label NAME@NUMBER LABEL",
        Why.ASKED,
    ),
    Verb(
        "prompts.unlabel", Unlabel, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Remove a prompt's label",
        "prompts unlabel NAME:LABEL",
        Why.ASKED,
    ),
    Verb(
        "prompts.import", Import, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Import prompt versions from files",
        "prompts import DIR [NAME] [--dry-run]",
    ),
    Verb(
        "prompts.undo", Undo, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Move a prompt's label back",
        "prompts undo NAME:LABEL [--to MOVE]",
        Why.ASKED,
    ),
    Verb(
        "prompts.protect", Protect, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Let only admins move a prompt's label",
        "prompts protect NAME:LABEL",
        Why.ASKED,
    ),
    Verb(
        "prompts.unprotect", Protect, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Let operators move a prompt's label again",
        "prompts unprotect NAME:LABEL",
        Why.ASKED,
    ),
)  # fmt: skip
