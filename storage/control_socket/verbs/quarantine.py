"""The verb of quarantined templates."""

from __future__ import annotations

from typing import Final

from storage.control_socket.verbs.verb import Danger, NoArguments, Process, Verb, Why
from storage.keys import Role

ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "quarantine.lift", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Run a quarantined template again",
        "quarantine lift NAME@VERSION",
        Why.ASKED,
    ),
)  # fmt: skip
