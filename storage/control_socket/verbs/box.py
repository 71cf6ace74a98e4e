"""Verbs of the whole box: freeze and unfreeze."""

from __future__ import annotations

from typing import Final

from storage.control_socket.verbs.verb import Danger, NoArguments, Process, Verb, Why
from storage.keys import Role

ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "box.freeze", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Freeze the box: nothing that answers requests can be changed",
        "freeze --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "box.unfreeze", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Allow changes on the box again",
        "unfreeze",
        Why.ASKED,
    ),
)  # fmt: skip
