"""home.json: the id of the store that a home has, how it was last restored, and its backups.

Written before the store is made and completed once it is made, so that a store that is gone is
told from one that never was. A restore is noted here because the restored store cannot know of it,
a backup because no node runs that could store it; the node copies the notes to the ledger. Each
write replaces the file in one step. Never looks at the store. Imported by `storage.sqlite`,
`storage.migrations`, the node and `app.commands.backups`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from storage import errors
from storage.home import durable
from storage.home.paths import Home


class Restore(msgspec.Struct, frozen=True):
    """Who put which file in place of the store, why, and where the store before it was set aside.

    `aside` is "" where there was none, `reason` where none was given.
    """

    at_us: int
    by: str
    source: str
    aside: str = ""
    reason: str = ""


class Backup(msgspec.Struct, frozen=True):
    """Who copied the store to which file, and why."""

    at_us: int
    by: str
    to: str
    reason: str = ""


class Identity(msgspec.Struct, frozen=True):
    """The store's id; "" while the first start is making the store."""

    store: str = ""
    restore: Restore | None = None
    backups: tuple[Backup, ...] = ()
    """Those that the ledger does not have yet."""

    @property
    def made(self) -> bool:
        """Whether the store was made to its end."""
        return bool(self.store)


def read(home: Home) -> Identity | None:
    """The identity of a home; None where no store was ever begun, or this user may not know.

    Raises:
        Unreadable: the file is damaged. NotAHome: it is a directory or another thing.
    """
    try:
        return msgspec.json.decode(_content(home.identity), type=Identity)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise errors.Unreadable(
            f"{home.identity}, which names the store of this home, cannot be read ({error}). "
            f"If {home.database} is the right store, remove {home.identity.name}: the next start "
            "writes it again."
        ) from error


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would block
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise errors.NotAHome(
                f"{path} is not a regular file; rename or remove it, and start again."
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def write(home: Home, identity: Identity) -> None:
    """Replace the identity, on the disk before this returns."""
    durable.replace(home.identity, msgspec.json.encode(identity) + b"\n")
