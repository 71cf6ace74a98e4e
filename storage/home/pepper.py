"""The pepper: a random secret of this box, without which the stored keys can check nothing.

A file in `secrets/` that only the node's user can read: never in the store, nor in a copy of it. It
is made with the store and replaced by `paddock keys reset` alone. A plain keyed hash is enough, for
keys are 256 random bits; a slow one is for what people choose. Standard library only. Imported by
`storage.keys` and the migration that made the first one.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final

from storage.errors import PepperLost
from storage.home import durable
from storage.home.paths import PRIVATE, Home

NAME: Final = "pepper"
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, repr=False)
class Pepper:
    """The secret; never printed."""

    value: bytes

    def seal(self, sha256: str) -> str:
        """What a key is stored as and found by: HMAC-SHA256 of its SHA-256, both in hex.

        Without the pepper it can be neither predicted nor steered, so it may be looked up in a
        table: how long that takes says nothing about a key.
        """
        return hmac.digest(self.value, sha256.encode(), "sha256").hex()

    @property
    def fingerprint(self) -> str:
        """What the store keeps to recognise its pepper by."""
        return self.seal("fingerprint")[:16]


def obtain(home: Home) -> Pepper:
    """The pepper of a home, made if there is none."""
    try:
        return read(home)
    except PepperLost:
        if (home.secrets / NAME).exists():
            raise
        return renew(home)


def read(home: Home) -> Pepper:
    """The pepper of a home.

    Raises:
        PepperLost: it is missing or damaged; the message says what to do.
    """
    path = home.secrets / NAME
    try:
        text = path.read_text(encoding="ascii").strip()
        if not _HEX.fullmatch(text):
            raise ValueError("it is damaged")  # noqa: TRY301 told like the other reasons
    except FileNotFoundError as error:
        raise lost(home, f"{path} is missing") from error
    except (OSError, ValueError) as error:
        raise lost(home, f"{path} cannot be read ({error})") from error
    return Pepper(bytes.fromhex(text))


def renew(home: Home) -> Pepper:
    """Replace the pepper, in one step and on the disk before this returns."""
    home.secrets.mkdir(mode=PRIVATE, exist_ok=True)
    value = secrets.token_bytes(32)
    durable.replace(home.secrets / NAME, value.hex().encode() + b"\n")
    durable.sync(home.root)
    return Pepper(value)


def lost(home: Home, why: str) -> PepperLost:
    """What is wrong, and the two ways out."""
    return PepperLost(
        f"No API key can be checked: {why}. Put {NAME} of this box back into {home.secrets} from a "
        "backup, or give up all keys with `paddock keys reset` and create new ones."
    )
