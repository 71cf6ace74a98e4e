"""Verbs of deployments: how many instances they have, and their restart."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import Arguments, Danger, NoArguments, Process, Verb, Why
from storage.keys import Role


class Scale(Arguments, frozen=True, kw_only=True):
    """How many instances of the target are wanted; control says which numbers are allowed."""

    replicas: Annotated[int, Meta(ge=-(2**31), le=2**31)]


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "deployments.scale", Scale, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Set how many instances a deployment has",
        "deployments scale NAME REPLICAS",
        Why.ASKED,
    ),
    Verb(
        "deployments.restart", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Start a failing deployment again",
        "deployments restart NAME",
        Why.ASKED,
    ),
)  # fmt: skip
