"""Ties a process to its parent: when the parent dies, the kernel kills the process.

An entry point calls `hold()` first. Never signals another process. Standard library only. Imported
by the entry point of every process that the node starts.
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


def hold(by: signal.Signals = signal.SIGKILL) -> None:
    """Keep files private, and get a signal when the node that started this process dies.

    Without `PADDOCK_NODE` (started by hand) only the umask is set.
    """
    os.umask(0o077)
    node = os.environ.get(NODE, "")
    if not node.isdecimal():
        return
    die_with(int(node), by)


def gone() -> bool:
    """Whether the node that started this process has died."""
    node = os.environ.get(NODE, "")
    return node.isdecimal() and os.getppid() != int(node)


def die_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent dies, whose process id is given."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)  # it died before the line above
