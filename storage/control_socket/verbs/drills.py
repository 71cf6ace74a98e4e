"""The verb of drills, which the runner carries out.

A drill creates a key and kills processes, which only admins may.
"""

from __future__ import annotations

from typing import Final

from storage.control_socket.verbs.verb import Danger, NoArguments, Process, Verb, Why
from storage.keys import Role

ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "drills.start", NoArguments, Role.ADMIN, Danger.REVERSIBLE, Process.RUNNER,
        "Rehearse a fault on a service made for it",
        "drill NAME",
        Why.OPTIONAL,
    ),
)  # fmt: skip
