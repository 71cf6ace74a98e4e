"""By what unchanged files are recognised without reading them: size, modification time and inode.

A file that was verified is not read again while these are the same; a write that also sets the
modification time back is not noticed. The node tells a worker by environment what it has verified.
Imports only the standard library. Imported by `engine.node` and `engine.serving`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
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


def whole(hashes: Sequence[str]) -> str:
    """The SHA-256 of a model in files with these; that of the file if it is only one.

    Of several it is the SHA-256 of theirs in hex, one a line, as the shell tells it:
    `sha256sum NAME-*.gguf | cut -c -64 | sha256sum`.
    """
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(f"{each}\n" for each in hashes).encode()).hexdigest()


def environment(verified: Sequence[Identity]) -> dict[str, str]:
    """What tells a worker that these files were verified, in their order."""
    said = ",".join(":".join(map(str, each)) for each in verified)
    return {VARIABLE: said} if said else {}


def from_environment() -> tuple[Identity, ...]:
    """What the node has verified; empty where it did not say."""
    try:
        said = [each.split(":") for each in os.environ.get(VARIABLE, "").split(",")]
        return tuple(Identity(int(size), int(mtime), int(inode)) for size, mtime, inode in said)
    except ValueError:
        return ()
