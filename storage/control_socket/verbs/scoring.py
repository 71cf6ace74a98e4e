"""Verbs of online scoring: the share of a service's answers that is scored."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import Arguments, Danger, Process, Verb
from storage.keys import Role


class Set(Arguments, frozen=True, kw_only=True):
    """The share of the target's answers in basis points; 0 ends it."""

    share_bp: Annotated[int, Meta(ge=0, le=10_000)]


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "scoring.set", Set, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Score a share of a service's answers after the fact",
        "scoring set NAME 10",
    ),
)  # fmt: skip
