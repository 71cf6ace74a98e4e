"""Whether the file of a store is where it was, and whether it is the store of its home.

A process that has a file open keeps it when the file is removed: SQLite would keep writing into
what cannot be found again. A file is therefore known by its inode, which is compared at each
transaction (one `stat`), and by the id inside it. Never opens a store for writing and never
removes a file. Imported by `storage.sqlite` and `storage.migrations`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from storage import errors
from storage.home import identity
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import connections
from storage.sqlite.offline_read import OfflineFile


@dataclass(frozen=True, slots=True)
class Mark:
    """The file that a path names."""

    device: int
    inode: int
    empty: bool


def mark(path: Path) -> Mark | None:
    """The file at a path now; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 at each transaction: half the cost of pathlib's
    except OSError:
        return None
    return Mark(found.st_dev, found.st_ino, found.st_size == 0)


def holds(found: Mark | None) -> bool:
    """Whether there is a file with something in it."""
    return found is not None and not found.empty


def require_file(home: Home) -> None:
    """Check that a store can be opened by its path: SQLite would hang on a FIFO.

    Raises:
        Unreadable: something else is there.
    """
    try:
        mode = home.database.stat().st_mode
    except FileNotFoundError:
        if home.database.is_symlink():
            raise errors.Unreadable(
                f"{home.database} is a symbolic link to nothing; mount what it points at, or "
                "remove the link and restore a backup with `paddock restore FILE`."
            ) from None
        return
    if not stat.S_ISREG(mode):
        raise errors.Unreadable(
            f"{home.database} is not a regular file; move it away and restore a backup with "
            "`paddock restore FILE`."
        )


def require(home: Home, known: identity.Identity | None) -> None:
    """Check that a home whose store was made still has it.

    Raises:
        Vanished: it is gone or empty.
    """
    require_file(home)
    if known is not None and known.made and not holds(mark(home.database)):
        raise gone(home)


def check_id(home: Home, known: identity.Identity | None, found: str) -> None:
    """Check that a file is the store of its home.

    Raises:
        Vanished: it is another store.
    """
    if known is not None and known.made and found and known.store != found:
        raise errors.Vanished(
            f"{home.database} is another store (id {found[:8]}…) than the one of this home "
            f"(id {known.store[:8]}…). Put the right file back, or keep this one with "
            f"`paddock restore {home.database} --replace`."
        )


def read_id(home: Home, offline: OfflineFile | None = None) -> str:
    """The id inside the file; "" where it has none yet."""
    with contextlib.closing(connections.watcher(home, offline, wait_s=connections.BUSY_S)) as watch:
        if not watch.execute("SELECT 1 FROM sqlite_schema WHERE name = 'store'").fetchone():
            return ""
        row = watch.execute("SELECT id FROM store").fetchone()
        return "" if row is None else str(row[0])


def gone(home: Home) -> errors.Vanished:
    """What is wrong with a home without its store, and what to do."""
    if not home.root.exists():
        return errors.Vanished(
            f"{home.root} is gone, moved or not mounted: nothing can be stored. Put the directory "
            "back."
        )
    what = "is empty" if home.database.exists() else "is gone"
    return errors.Vanished(
        f"{home.database} {what}: nothing can be stored. Put the file back, or restore a backup "
        f"with `paddock restore FILE`. To begin with an empty store instead, stop the node and "
        f"remove {home.identity.name} from {home.root}."
    )


def mispaired(home: Home) -> errors.Vanished:
    """Another file is beside the log of the previous store."""
    log, _ = homes.beside(home.database)
    return errors.Vanished(
        f"{home.database} was replaced beside {log.name} of the store before it, and reading both "
        f"together would damage it. Move the new file elsewhere and restore it with `paddock "
        "restore FILE`."
    )
