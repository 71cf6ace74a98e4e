"""By what an unchanged file is recognised without reading it: size, modification time and inode.

A file that was verified is not read again while these are the same; a write that also sets the
modification time back is not noticed. The node tells a worker by environment what it has verified.
Imports only the standard library. Imported by `engine.node` and `engine.serving`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

VARIABLE: Final = "PADDOCK_VERIFIED"


class Identity(NamedTuple):
    """A file as the file system describes it; the inode is None where it was never recorded."""

    size_bytes: int
    mtime_ns: int
    inode: int | None

    def fits(self, now: Identity) -> bool:
        """Whether a file that looks so now can be the one that was recorded as this."""
        same = (self.size_bytes, self.mtime_ns) == (now.size_bytes, now.mtime_ns)
        return same and self.inode in {None, now.inode}


def of(path: Path) -> Identity:
    """The identity of a file now; OSError if there is none."""
    now = path.stat()
    return Identity(now.st_size, now.st_mtime_ns, now.st_ino)


def environment(verified: Identity | None) -> dict[str, str]:
    """What tells a worker that this file was verified."""
    return {} if verified is None else {VARIABLE: ":".join(map(str, verified))}


def from_environment() -> Identity | None:
    """What the node has verified; None where it did not say."""
    try:
        size, mtime, inode = os.environ.get(VARIABLE, "").split(":")
        return Identity(int(size), int(mtime), int(inode))
    except ValueError:
        return None
