"""Verbs of runbooks, which their runner carries out."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from storage.control_socket.verbs.verb import Arguments, Danger, NoArguments, Process, Verb, Why
from storage.keys import Role


class Start(Arguments, frozen=True, kw_only=True):
    """What the runbook asks for before it begins; `content` is the hash of what was shown."""

    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    content: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "runbooks.start", Start, Role.OPERATOR, Danger.REVERSIBLE, Process.RUNNER,
        "Start a runbook",
        "runbooks start NAME [INPUT=VALUE]",
        Why.ASKED,
    ),
    Verb(
        "runbooks.undo", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.RUNNER,
        "Undo the steps of a run",
        "runbooks undo RUN",
        Why.ASKED,
    ),
)  # fmt: skip
