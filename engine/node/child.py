"""A running process of the operating system: its pipe, its signals, its exit.

A pidfd reports its exit, so a process that reuses its id is never signalled. Never
decides anything and never starts a process. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Final

from engine.node import status_lines

_PIPE_READ: Final = 65536


class Child:
    """Passes on each status line in order, and then the return code."""

    def __init__(
        self,
        started: subprocess.Popen[bytes],
        *,
        hear: Callable[[status_lines.StatusLine], None],
        ended: Callable[[int], None],
    ) -> None:
        """Watch a process whose standard output is a pipe."""
        self._started = started
        self._hear = hear
        self._ended = ended
        self._lines = status_lines.LineReader()
        assert started.stdout is not None  # noqa: S101 a pipe was asked for
        self._pipe = started.stdout
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(started.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        os.set_blocking(self._pipe.fileno(), False)
        self._loop.add_reader(self._pipe.fileno(), self._read)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._started.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; no effect once the process has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _read(self) -> None:
        while not self._pipe.closed:
            try:
                data = os.read(self._pipe.fileno(), _PIPE_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._pipe.fileno())
                return
            for line in self._lines.feed(data):
                self._hear(line)

    def _reap(self) -> None:
        if self._started.poll() is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._read()  # its last lines count
        self._loop.remove_reader(self._pipe.fileno())
        self._pipe.close()
        self._ended(self._started.returncode)
