"""Verbs of jobs: cancelled and queued again."""

from __future__ import annotations

from typing import Final

from storage.control_socket.verbs.verb import Danger, NoArguments, Process, Verb, Why
from storage.keys import Role

ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "jobs.cancel", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Cancel a job",
        "jobs cancel JOB",
        Why.ASKED,
    ),
    Verb(
        "jobs.retry", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Queue a failed or cancelled job again",
        "jobs retry JOB",
    ),
)  # fmt: skip
