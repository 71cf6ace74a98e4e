"""One node per data directory: a lock that the kernel releases however the node ends.

Never waits for a node and never breaks a lock. Standard library only. The node takes it, a restore
keeps nodes from starting; the client of the control socket and `app` ask who holds it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from storage.errors import NotAHome

_RESTORE: Final = "restore"
_PROBES: Final = 10
_PROBE_S: Final = 0.02


class AlreadyRuns(Exception):
    """Another node runs on this directory; stop it, or choose another one with --home."""


def take(path: Path) -> int:
    """Lock the data directory until this process ends; returns the descriptor to keep open.

    The file contains the holder's process id, so that a second node can name the first.

    Raises:
        AlreadyRuns: another process holds it. NotAHome: something else is in its place.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except IsADirectoryError as error:
        raise NotAHome(f"{path} is not a file; rename or remove it, and start again.") from error
    for _ in range(_PROBES):  # `holder` holds it for microseconds
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(_PROBE_S)
    else:
        found, _, what = _written(descriptor).partition(" ")
        os.close(descriptor)
        if what == _RESTORE:
            raise AlreadyRuns(
                f"A restore (process {found}) is replacing the store of {path.parent}; start again "
                "once it has ended."
            )
        raise AlreadyRuns(
            f"A node (process {found or 'unknown'}) already runs on {path.parent}; "
            "stop it with `paddock stop`, or choose another directory with --home."
        )
    _sign(descriptor)
    return descriptor


@contextmanager
def kept_free(path: Path) -> Iterator[bool]:
    """Whether no node runs on the directory; if so, none starts during the block, a restore."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            with suppress(OSError):  # on a full disk the lock holds without a name
                _sign(descriptor, _RESTORE)
            yield True
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """The process id of the node that runs on the directory; None without one.

    Only the owner of the directory can find out: for other users it is None.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(descriptor)
    except OSError:  # not a file
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _sign(descriptor: int, what: str = "") -> None:
    # Overwritten in place, not truncated first: on a full disk an empty file could not be filled.
    os.pwrite(descriptor, f"{f'{os.getpid()} {what}':<20}\n".encode(), 0)


def _pid(descriptor: int) -> int | None:
    text = _written(descriptor)
    return int(text) if text.isdecimal() else None


def _written(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip()
