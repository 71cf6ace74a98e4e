"""Ends the processes that a test run has started when the run itself is killed.

A shell waits at the other end of a pipe, which the kernel closes however the run ends. The kernel's
own signal for the death of a parent (`PR_SET_PDEATHSIG`) does not fit: it follows the thread that
started the process, and some are started from a pool of threads.
"""

from __future__ import annotations

import subprocess
from typing import Final

_WATCH: Final = 'read -r _ || kill -KILL "$0" 2>/dev/null'


class Watchdog:
    """Kills a process if this one ends before `release`."""

    def __init__(self, pid: int) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a ^C is for the run, not for what watches it
        )

    def release(self) -> None:
        """The process has ended, or may outlive this one."""
        self._shell.communicate(b"\n")
