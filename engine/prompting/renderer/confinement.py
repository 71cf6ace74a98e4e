"""Drops the rights of a renderer process before it reads a template.

After `confine` it cannot open a file or a socket, write to one, start a process or take unbounded
memory, and it dies with its parent. Call it once everything is imported. Imported by the renderer
process.
"""

from __future__ import annotations

import math
import os
import resource
import signal
from pathlib import Path
from typing import Final

from engine.prompting.renderer import protocol
from storage.runtime import parent

_DESCRIPTORS: Final = 3
"""The socket to the pool, and /dev/null twice: no number is left for another file."""


def confine(parent_id: int) -> None:
    """Drop all rights that rendering does not need; exits if the parent has died."""
    parent.die_with(parent_id)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a terminal or a unit
        signal.signal(number, signal.SIG_IGN)  # while the pool still needs this one
    os.chdir("/")
    os.closerange(_DESCRIPTORS, os.sysconf("SC_OPEN_MAX"))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + protocol.MEMORY)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)


def allow_cpu(seconds: float) -> None:
    """Let the kernel end this process once it has used so much more processor time.

    A backstop for a parent that is stopped or busy: the kernel counts whole seconds.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (least, least))
