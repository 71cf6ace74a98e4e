"""Where a supervised server listens, published in a file, and whether anyone is using it.

The server's shim publishes and withdraws the address; the gateway takes a lease on it while it has
requests there. Leases are locks of the kernel on the file, so that a gateway that dies gives them
back, and a shim that drains knows when the last request has ended. A second lock shows that the
shim is alive: what a dead one left behind is ignored, because its port may belong to another
program by now. Imported by `engine.node.server_shim` and `engine.backends.upstream.supervised`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec


class Address(msgspec.Struct, frozen=True):
    """A port of loopback, and the path that answers 200 there while the server can work."""

    port: int
    health_path: str

    @property
    def root(self) -> str:
        """The server's address without a path."""
        return f"http://127.0.0.1:{self.port}"


class Published:
    """The shim's side."""

    def __init__(self, path: Path, address: Address) -> None:
        """Publish; an older address in the same place is replaced in one step."""
        self._path = path
        self._address = address
        self._alive: list[int] = []
        self._descriptors: list[int] = []  # leases are held on files that were removed, too
        self._publish()

    def keep(self) -> None:
        """Publish again if the file, or the one that shows that the shim lives, was removed."""
        if not (self._path.exists() and _lock(self._path).exists()):
            with contextlib.suppress(OSError):  # the directory is gone: tried again
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
                self._publish()

    def _publish(self) -> None:
        path = self._path
        alive = os.open(_lock(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._alive.append(alive)
        if not self._alive[:-1] or os.fstat(alive).st_ino != os.fstat(self._alive[-2]).st_ino:
            fcntl.flock(alive, fcntl.LOCK_EX)
        fresh = path.with_suffix(f".{os.getpid()}")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._descriptors.append(os.open(fresh, flags, 0o600))
        os.write(self._descriptors[-1], msgspec.json.encode(self._address))
        fresh.replace(path)

    @property
    def leased(self) -> bool:
        """Whether the gateway has requests there."""
        return any(_leased(each) for each in self._descriptors)

    def withdraw(self) -> None:
        """Allow no new leases; existing ones remain."""
        with contextlib.suppress(OSError):
            if os.fstat(self._descriptors[-1]).st_ino == self._path.stat().st_ino:
                self._path.unlink()


class Lease:
    """The gateway's side: held while it has requests there."""

    def __init__(self, path: Path) -> None:
        """Take a lease.

        Raises:
            OSError: nothing is published there, or not any more.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Blocks only for as long as the shim needs to test for leases.
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            if os.fstat(self._descriptor).st_nlink == 0:
                raise FileNotFoundError(path)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Release it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read(path: Path) -> Address | None:
    """The address that a living shim publishes; None when there is none."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Address)
        with _lock(path).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return found
    except (OSError, msgspec.MsgspecError):
        return None
    return None


def _leased(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")
