"""Verbs of keys: added and revoked."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    Name,
    NoArguments,
    Process,
    Verb,
    Why,
)
from storage.keys import Role

_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Add(Arguments, frozen=True, kw_only=True):
    """A key by its hash; the secret stays where it was made.

    The client sends `sha256`; the node stores its HMAC in the intent, as `mac`, and not the hash.
    """

    name: Name
    prefix: Annotated[str, Meta(pattern=r"^pk-[A-Za-z0-9_-]{4,13}\Z")]
    sha256: _Sha256 | None = None
    mac: _Sha256 | None = None
    role: Role = Role.CLIENT
    tenant: Name
    synthetic: bool = False

    def __post_init__(self) -> None:
        """Refuse a key with neither and with both."""
        if (self.sha256 is None) == (self.mac is None):
            raise ValueError("give the SHA-256 of the key's secret - at `$.sha256`")


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "keys.add", Add, Role.ADMIN, Danger.REVERSIBLE, Process.CONTROL,
        "Add a key",
        "keys create --name NAME --role client [--synthetic]",
    ),
    Verb(
        "keys.revoke", NoArguments, Role.ADMIN, Danger.HARD, Process.CONTROL,
        "Revoke a key for good",
        "keys revoke NAME",
        Why.ASKED,
    ),
    Verb(
        "keys.reset", NoArguments, Role.ADMIN, Danger.HARD, Process.CONTROL,
        "Revoke all keys and replace the secret they are checked with",
        "keys reset",
        Why.ASKED,
    ),
)  # fmt: skip
