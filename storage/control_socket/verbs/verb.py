"""One row of the table of verbs, and the types that the arguments of several nouns share."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from storage import names
from storage.keys import Role

Name = Annotated[str, Meta(pattern=rf"^{names.PATTERN}\Z", max_length=36)]
Reference = Annotated[str, Meta(min_length=1, max_length=120)]
Line = Annotated[str, Meta(max_length=2000)]
Release = Annotated[str, Meta(pattern=r"^(r[0-9]{1,18}|[0-9a-f]{6,64})\Z")]


class Danger(StrEnum):
    """How much confirmation an action needs before it is carried out."""

    LOOK = "look"  # changes nothing
    REVERSIBLE = "reversible"  # one confirmation that names the target and the effect
    HARD = "hard"  # hard to reverse: the intent must repeat the target's name


class Process(StrEnum):
    """The processes that carry verbs out, by the name under which the node runs them."""

    CONTROL = "control"
    RUNNER = "runner"


class Why(StrEnum):
    """Whether an intent with this verb says why."""

    OPTIONAL = "optional"  # as the person likes
    ASKED = "asked"  # screen and command line ask for a reason; it may be empty
    REQUIRED = "required"  # without a reason the control socket refuses it


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the arguments of all verbs have in common: unknown fields are refused."""


class NoArguments(Arguments, frozen=True, kw_only=True):
    """The verb needs its target only."""


class Verb(msgspec.Struct, frozen=True):
    """One row of the table. `command` is its form on the command line, after `paddock`."""

    name: str
    arguments: type[Arguments]
    role: Role
    danger: Danger
    process: Process
    sentence: str
    command: str
    why: Why = Why.OPTIONAL

    @property
    def noun(self) -> str:
        """What the verb is about: `services` of `services.split`."""
        return self.name.partition(".")[0]


def check_total(weights: Iterable[int]) -> None:
    """Prove that the weights of arms add up to the whole, in basis points.

    Raises:
        ValueError: they do not.
    """
    total = sum(weights)
    if total != 10_000:  # noqa: PLR2004 basis points
        raise ValueError(f"the weights add up to {total} basis points, not 10000 - at `$.arms`")
