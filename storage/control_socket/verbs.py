"""The one table of what may be asked for: verb, arguments, role, danger, sentence, who carries out.

The node checks an intent against it at the door; screens and commands show it. Nothing here
acts. Imported by everybody who asks or answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from storage import names
from storage.errors import BadArguments
from storage.keys import Role
from storage.models import Kind
from storage.prompts import Message, Variable
from storage.releases import Engine, Limits, Sampling, Server, Upstream

__all__ = ["TABLE", "BadArguments", "Claimer", "Danger", "Verb", "parse"]

Name = Annotated[str, Meta(pattern=f"^{names.PATTERN}$", max_length=36)]
Reference = Annotated[str, Meta(min_length=1, max_length=120)]
Line = Annotated[str, Meta(max_length=2000)]
Release = Annotated[str, Meta(pattern=r"^(r[0-9]{1,18}|[0-9a-f]{6,64})$")]
Claimer = Literal["control", "runner"]


class Danger(StrEnum):
    """How much asking an action needs before it is done."""

    LOOK = "look"  # changes nothing
    REVERSIBLE = "reversible"  # one confirm that names the target and the effect
    HARD = "hard"  # hard to reverse: the name has to be typed


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every verb's arguments have in common: what is not known is refused."""


class NoArguments(Arguments, frozen=True, kw_only=True):
    """The target says it all."""


class ModelsAdd(Arguments, frozen=True, kw_only=True):
    """A file of this box as a version; `base` names the weights an adapter stands on."""

    model: Name
    version: Annotated[str, Meta(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$")]
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    kind: Kind = Kind.WEIGHTS
    base: Reference | None = None
    licence: Line | None = None


class PromptsAdd(Arguments, frozen=True, kw_only=True):
    """The next version of a prompt."""

    prompt: Name
    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=100)]
    variables: Annotated[tuple[Variable, ...], Meta(max_length=100)] = ()
    comment: Line = ""


class PromptsLabel(Arguments, frozen=True, kw_only=True):
    """Point a label of the target at one of its versions."""

    label: Name
    number: Annotated[int, Meta(ge=1, le=2**31)]


class ReleasesCreate(Arguments, frozen=True, kw_only=True):
    """What answers: a model version, an upstream or a server; a prompt version; settings.

    Without `upstream` and `server` the release is local, with the defaults of `engine` if omitted.
    """

    model: Reference | None = None
    prompt: Reference | None = None
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    engine: Engine | None = None
    upstream: Upstream | None = None
    server: Server | None = None
    comment: Line = ""


class ServicesCreate(Arguments, frozen=True, kw_only=True):
    """The first release of a service, and whether texts are kept."""

    release: Release
    record_text: bool = False


class ServicesSplit(Arguments, frozen=True, kw_only=True):
    """Basis points by release; they add up to 10000."""

    arms: Annotated[
        dict[Release, Annotated[int, Meta(ge=0, le=10_000)]], Meta(min_length=1, max_length=32)
    ]

    def __post_init__(self) -> None:
        """Refuse weights that are not a whole."""
        total = sum(self.arms.values())
        if total != 10_000:  # noqa: PLR2004 basis points
            raise ValueError(f"the weights add up to {total} basis points, not 10000 - at `$.arms`")


class KeysAdd(Arguments, frozen=True, kw_only=True):
    """A key by its hash; the secret stays where it was made."""

    name: Name
    prefix: Annotated[str, Meta(pattern=r"^pk-[A-Za-z0-9_-]{4,13}$")]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    role: Role = Role.CLIENT
    tenant: Name
    synthetic: bool = False


class KnobsSet(Arguments, frozen=True, kw_only=True):
    """A knob of the target worker and its value."""

    name: Annotated[str, Meta(max_length=40)]
    value: Annotated[int, Meta(ge=0, le=2**53)]


class KnobsUndo(Arguments, frozen=True, kw_only=True):
    """A knob of the target worker."""

    name: Annotated[str, Meta(max_length=40)]


class RunbooksStart(Arguments, frozen=True, kw_only=True):
    """What the runbook asks for before it begins; `content` is the hash of what was shown."""

    inputs: dict[str, Any] = {}
    content: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    noun: str
    role: Role
    danger: Danger
    sentence: str
    arguments: type[Arguments]
    claimed_by: Claimer


_Row = tuple[str, Role, Danger, str, type[Arguments]]
_ROWS: Final[tuple[_Row, ...]] = (
    ("models.add", Role.OPERATOR, Danger.REVERSIBLE, "Register a model version", ModelsAdd),
    ("prompts.add", Role.OPERATOR, Danger.REVERSIBLE, "Add a prompt version", PromptsAdd),
    ("prompts.label", Role.OPERATOR, Danger.REVERSIBLE, "Move a prompt's label", PromptsLabel),
    ("releases.create", Role.OPERATOR, Danger.REVERSIBLE, "Create a release", ReleasesCreate),
    ("services.create", Role.OPERATOR, Danger.REVERSIBLE, "Create a service", ServicesCreate),
    ("services.split", Role.OPERATOR, Danger.REVERSIBLE, "Set a service's split", ServicesSplit),
    ("services.undo", Role.OPERATOR, Danger.REVERSIBLE, "Put back the split before", NoArguments),
    ("keys.add", Role.ADMIN, Danger.REVERSIBLE, "Add a key", KeysAdd),
    ("keys.revoke", Role.ADMIN, Danger.HARD, "Revoke a key for good", NoArguments),
    ("knobs.set", Role.OPERATOR, Danger.REVERSIBLE, "Set a worker's knob", KnobsSet),
    ("knobs.undo", Role.OPERATOR, Danger.REVERSIBLE, "Put back a knob's value", KnobsUndo),
    ("runbooks.start", Role.OPERATOR, Danger.REVERSIBLE, "Start a runbook", RunbooksStart),
    ("runbooks.undo", Role.OPERATOR, Danger.REVERSIBLE, "Undo the steps of a run", NoArguments),
)

TABLE: Final[Mapping[str, Verb]] = MappingProxyType(
    {
        name: Verb(
            name=name,
            noun=name.partition(".")[0],
            role=role,
            danger=danger,
            sentence=sentence,
            arguments=arguments,
            claimed_by="runner" if name.startswith("runbooks.") else "control",
        )
        for name, role, danger, sentence, arguments in _ROWS
    }
)


def parse(name: str, raw: Mapping[str, Any]) -> Any:
    """The arguments of a verb as its struct.

    Raises:
        BadArguments: there is no such verb, or a field does not fit; the message names it.
    """
    verb = TABLE.get(name)
    if verb is None:
        raise BadArguments(f"There is no verb {name!r}; known: {', '.join(TABLE)}.")
    try:
        return msgspec.convert(dict(raw), verb.arguments)
    except msgspec.ValidationError as error:
        what, at, where = str(error).rpartition(" - at `")
        field = where.removesuffix("`").removeprefix("$").removeprefix(".")
        raise BadArguments(
            f"{name}: {field}: {what}." if at and field else f"{name}: {what or error}."
        ) from error
