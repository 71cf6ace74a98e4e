"""Verbs of services: created, split, frozen, promoted from staging, removed."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs import verb
from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    Name,
    NoArguments,
    Process,
    Release,
    Verb,
    Why,
)
from storage.home import secrets
from storage.keys import Role
from storage.rollout_steps import OnLabel, Strategy
from storage.service_rows import PrefixCache


class Create(Arguments, frozen=True, kw_only=True):
    """The first release of a service, whether texts are kept, and whose staging it is."""

    release: Release
    record_text: bool = False
    staging_of: Name | None = None


class Split(Arguments, frozen=True, kw_only=True):
    """Basis points by release; they add up to 10000."""

    arms: Annotated[
        dict[Release, Annotated[int, Meta(ge=0, le=10_000)]], Meta(min_length=1, max_length=32)
    ]

    def __post_init__(self) -> None:
        """Refuse weights that do not add up to 10000."""
        verb.check_total(self.arms.values())


class Undo(Arguments, frozen=True, kw_only=True):
    """The split to go back to: by its id, or as the one that an intent replaced."""

    to: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    intent: Annotated[int, Meta(ge=1, le=2**53)] | None = None

    def __post_init__(self) -> None:
        """Refuse an undo that does not name its target: it would toggle."""
        if (self.to is None) == (self.intent is None):
            raise ValueError("name the split to go back to, or the intent to undo - at `$.to`")


class Set(Arguments, frozen=True, kw_only=True):
    """Whether texts are recorded, how labels are followed, who shares cached prompts, from now on.

    `webhook_secret` refers to the deposited key that signs the messages of later rollouts; empty,
    they are not signed. None leaves one as it is.
    """

    record_text: bool | None = None
    on_label: OnLabel | None = None
    prefix_cache: PrefixCache | None = None
    webhook_secret: Annotated[str, Meta(pattern=rf"^({secrets.PATTERN})?\Z")] | None = None

    def __post_init__(self) -> None:
        """Refuse to set nothing."""
        if all(getattr(self, name) is None for name in self.__struct_fields__):
            raise ValueError("name what to set - at `$.record_text`")


class Promote(Arguments, frozen=True, kw_only=True):
    """How the release of the target, a staging, is led to the traffic of its production.

    Without a strategy by the rollout policy of the production, or as a canary.
    """

    strategy: Strategy | None = None


class Remove(Arguments, frozen=True, kw_only=True):
    """Whether to remove a service that answered requests within the last minutes."""

    despite_traffic: bool = False


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "services.create", Create, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Create a service",
        "services create NAME --release r1 [--record-text]",
    ),
    Verb(
        "services.split", Split, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Set a service's split",
        "services split NAME r1=90 r2=10",
        Why.ASKED,
    ),
    Verb(
        "services.undo", Undo, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Go back to an earlier split",
        "services undo NAME [--to SPLIT]",
        Why.ASKED,
    ),
    Verb(
        "services.freeze", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Freeze a service's split against changes",
        "services freeze NAME --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "services.unfreeze", NoArguments, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Allow changes of a service's split again",
        "services unfreeze NAME",
        Why.ASKED,
    ),
    Verb(
        "services.set", Set, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Set what is recorded of a service, how it follows labels, its cached prompts, its key",
        "services set NAME --record-text --on-label canary",
        Why.ASKED,
    ),
    Verb(
        "services.promote", Promote, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Start a rollout of a staging's release to its production",
        "services promote NAME [--strategy canary]",
        Why.ASKED,
    ),
    Verb(
        "services.remove", Remove, Role.OPERATOR, Danger.HARD, Process.CONTROL,
        "Remove a service for good",
        "services remove NAME [--despite-traffic]",
        Why.ASKED,
    ),
)  # fmt: skip
