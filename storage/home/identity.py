"""home.json: the id of the store that a home has.

Written before the store is made and completed once it is made, so that a store that is gone is
told from one that never was. Each write replaces the file in one step; a crash leaves the file as
it was before or after. Never looks at the store. Imported by `storage.sqlite` and the commands
that restore one.
"""

from __future__ import annotations

import os

import msgspec

from storage import errors
from storage.home.paths import Home


class Identity(msgspec.Struct, frozen=True):
    """The store's id; "" while the first start is making the store."""

    store: str = ""

    @property
    def made(self) -> bool:
        """Whether the store was made to its end."""
        return bool(self.store)


def read(home: Home) -> Identity | None:
    """The identity of a home; None where no store was ever begun, or this user may not know.

    Raises:
        Unreadable: the file is damaged.
    """
    try:
        return msgspec.json.decode(home.identity.read_bytes(), type=Identity)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise errors.Unreadable(
            f"{home.identity}, which names the store of this home, cannot be read ({error}). "
            f"If {home.database} is the right store, remove {home.identity.name}: the next start "
            "writes it again."
        ) from error


def write(home: Home, identity: Identity) -> None:
    """Replace the identity, on the disk before this returns."""
    fresh = home.identity.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, msgspec.json.encode(identity) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(home.identity)
    folder = os.open(home.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
