"""Ties a process to its parent: when the parent dies, the kernel kills the process.

An entry point calls `hold()` first. Never signals another process. Standard library only. Imported
by the entry point of every process of the engine.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

NODE: Final = "PADDOCK_NODE"
"""The environment variable with the process id of the node."""

_PR_SET_PDEATHSIG: Final = 1


def hold() -> None:
    """Keep files private, and die with the node that started this process.

    Without `PADDOCK_NODE` (started by hand) only the umask is set.
    """
    os.umask(0o077)
    node = os.environ.get(NODE, "")
    if not node.isdecimal():
        return
    die_with(int(node))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, whose process id is given."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)  # it died before the line above
