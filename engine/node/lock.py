"""One node per data directory: a lock that the kernel releases however the node ends.

Never waits, never breaks a lock. Imported by `engine.node`.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class AlreadyRuns(Exception):
    """Another node runs on this directory; stop it, or choose another one with --home."""


def take(path: Path) -> int:
    """Lock the data directory until this process ends; returns the descriptor to keep open.

    The file contains the holder's process id, so that a second node can name the first.

    Raises:
        AlreadyRuns: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRuns(
            f"A node (process {holder}) already runs on {path.parent}; "
            "stop it with `paddock stop`, or choose another directory with --home."
        ) from None
    # Overwritten in place, not truncated first: on a full disk an empty file could not be filled.
    os.pwrite(descriptor, f"{os.getpid():<20}\n".encode(), 0)
    return descriptor
