"""Publishes which adapter a worker is computing, so that it can be read after the worker died.

libllama ends the process in the middle of a step, so that nothing can be sent then. The worker maps
a small file beside its socket; writing to it is no system call. Imported by `engine.serving`, which
writes it, and `engine.node`, which reads it.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

_BYTES: Final = 64


def beside(socket: Path) -> Path:
    """The file of the worker with this socket."""
    return socket.with_name(f"{socket.name}.computing")


class Computing:
    """The writing end."""

    def __init__(self, path: Path) -> None:
        """Create the file for this process.

        Raises:
            OSError: it cannot be made.
        """
        path.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            os.ftruncate(descriptor, _BYTES)
            self._shared = mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        self._adapter = ""

    def __call__(self, adapter: str) -> None:
        """This adapter is computed from now on; "" is the base, or nothing."""
        if adapter != self._adapter:
            self._adapter = adapter
            self._shared[:] = adapter.encode()[:_BYTES].ljust(_BYTES, b"\0")


def read(path: Path) -> str:
    """The adapter that a worker computed last; "" for the base, or if it is not known."""
    try:
        return path.read_bytes()[:_BYTES].rstrip(b"\0").decode("ascii", "replace")
    except OSError:
        return ""
