"""How far the migration of a home's store is, for those who wait for it.

A store of millions of requests takes minutes. The process that migrates holds a lock and writes
beside it how far it is; without the lock, what is written was left by one that was killed, whose
step the next one starts again. Never opens the store. Written by `storage.migrations`; every
process may read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from storage.home.paths import Home


class Progress(msgspec.Struct, frozen=True):
    """The schema that is being made, the last one to make, and the share of the work done.

    `percent` is None while a step is taken whose work is not known beforehand.
    """

    schema: int
    newest: int
    percent: int | None

    @property
    def words(self) -> str:
        """As a sentence."""
        done = "" if self.percent is None else f": {self.percent} %"
        return f"migrating the store{done} (schema {self.schema} of {self.newest})"


def lock(home: Home) -> int:
    """Wait until no other process migrates; returns the descriptor to close after it.

    The kernel takes the lock back from a dead process.
    """
    descriptor = os.open(_lock(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def write(home: Home, progress: Progress) -> None:
    """Say how far it is; the caller has the lock. A full disk costs what is said, nothing else."""
    fresh = _file(home).with_suffix(".new")
    with contextlib.suppress(OSError):
        fresh.write_bytes(msgspec.json.encode(progress))
        fresh.replace(_file(home))


def clear(home: Home) -> None:
    """It has ended, before the lock is released."""
    with contextlib.suppress(OSError):
        _file(home).unlink(missing_ok=True)


def read(home: Home) -> Progress | None:
    """How far the process is that migrates the store now; None without one."""
    try:
        found = msgspec.json.decode(_file(home).read_bytes(), type=Progress)
        descriptor = os.open(_lock(home), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, msgspec.MsgspecError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return found
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _lock(home: Home) -> Path:
    return home.run / "store.lock"


def _file(home: Home) -> Path:
    return home.run / "migrating.json"
