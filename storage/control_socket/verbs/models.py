"""Verbs of models: added, aliased, traced, exported, removed."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage import model_aliases, models
from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    Line,
    Name,
    NoArguments,
    Process,
    Reference,
    Verb,
    Why,
)
from storage.errors import BadName, Invalid
from storage.home import secrets
from storage.keys import Role
from storage.models import Kind


class Add(Arguments, frozen=True, kw_only=True):
    """A model file as a version; `base` names the weights that an adapter belongs on.

    `path` is a path of this machine, or an address: https://, hf://, mlflow:, or one of fsspec;
    `secret` refers to the
    deposited query of an https:// address, which may hold a token. `sha256` is what the file has
    to have. `parent`, `dataset` and `run` are what the version was made from, and how.
    """

    model: Name
    version: Annotated[str, Meta(max_length=40)]
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    secret: Annotated[str, Meta(pattern=rf"^{secrets.PATTERN}\Z")] | None = None
    kind: Kind = Kind.WEIGHTS
    base: Reference | None = None
    licence: Line | None = None
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    parent: Reference | None = None
    dataset: Reference | None = None
    run: Reference | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a semantic version, and an address that would record a token."""
        if self.path.lower().startswith(("https://", "http://")) and "?" in self.path:
            raise ValueError(
                "The query of an address may hold a token and would be recorded; "
                "`paddock models add` deposits it as a secret - at `$.path`"
            )
        if "://" in self.path and "@" in self.path.split("/")[2]:
            raise ValueError("A password in a URL would be recorded; remove it - at `$.path`")
        try:
            models.check_version(self.version)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.version`") from error


class Alias(Arguments, frozen=True, kw_only=True):
    """Point an alias of the target, a model, at one of its versions."""

    alias: Annotated[str, Meta(max_length=36)]
    version: Annotated[str, Meta(max_length=40)]

    def __post_init__(self) -> None:
        """Refuse what cannot be an alias or a version before it is stored."""
        try:
            model_aliases.check(self.alias)
        except (Invalid, BadName) as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.alias`") from error
        try:
            models.check_version(self.version)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.version`") from error


class Unalias(Arguments, frozen=True, kw_only=True):
    """Remove an alias of the target, a model."""

    alias: Annotated[str, Meta(max_length=36)]


class Trace(Arguments, frozen=True, kw_only=True):
    """What the target, a model version, was made from; what is left out is not known."""

    parent: Reference | None = None
    dataset: Reference | None = None
    run: Reference | None = None


class Export(Arguments, frozen=True, kw_only=True):
    """Where the target, a model version, is exported to: a path, or mlflow:models:/name."""

    to: Annotated[
        str, Meta(min_length=1, max_length=4096, pattern=r"^(/|mlflow:)[^\x00-\x1f\x7f]*\Z")
    ]


class Gc(Arguments, frozen=True, kw_only=True):
    """Whether to remove, first, the downloaded versions that no release, alias or adapter needs."""

    unused: bool = False


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "models.add", Add, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Register a model version",
        "models add SOURCE --name NAME --version 1.0.0 [--base NAME@1.0.0]",
    ),
    Verb(
        "models.alias", Alias, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Point an alias at a model version",
        "models alias NAME@1.0.0 ALIAS",
        Why.ASKED,
    ),
    Verb(
        "models.unalias", Unalias, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Remove an alias of a model",
        "models unalias NAME ALIAS",
        Why.ASKED,
    ),
    Verb(
        "models.trace", Trace, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Record what a model version was made from",
        "models trace NAME@1.0.0 [--parent NAME@1.0.0] [--dataset D] [--run R]",
    ),
    Verb(
        "models.export", Export, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Export a model version as a Hub repository or to MLflow",
        "models export NAME@1.0.0 --to DIR",
    ),
    Verb(
        "models.remove", NoArguments, Role.OPERATOR, Danger.HARD, Process.CONTROL,
        "Remove a model version and its downloaded file",
        "models remove NAME@1.0.0",
        Why.ASKED,
    ),
    Verb(
        "models.gc", Gc, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Delete downloaded model files that nothing needs",
        "models gc [--unused] [--dry-run]",
        Why.ASKED,
    ),
)  # fmt: skip
