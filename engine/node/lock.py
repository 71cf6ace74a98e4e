"""One node per home: an advisory lock that the kernel gives back however the node ends.

Never waits, never breaks a lock. Imported by `engine.node`.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class AlreadyRuns(Exception):
    """Another node holds this home; stop it with `paddock stop`, or choose another --home."""


def take(path: Path) -> int:
    """Hold the home until this process ends; returns the descriptor to keep open.

    The file keeps the holder's process id, so that the second node can name the first.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRuns(
            f"A node (process {holder}) already runs on {path.parent}; "
            "stop it with `paddock stop`, or choose another home with --home."
        ) from None
    # Overwritten in place, not truncated first: on a full disk an empty file could not be filled.
    os.pwrite(descriptor, f"{os.getpid():<20}\n".encode(), 0)
    return descriptor
