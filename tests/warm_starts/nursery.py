"""A nursery, as the process that asks it sees it; and the next one when it fails.

Forks nothing itself: that is the nursery's side, `forking`. Imported by `tests.warm_starts`.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from tests.warm_starts import command_line, request
from tests.warm_starts.request import Request

_ROOT: Final = Path(__file__).parents[2]
_ROOM: Final = "." * 4096  # reserves memory for the command lines of its processes
_BY_LIBRARIES: Final = ("PYTHON", "LD_", "OMP_", "GOMP_", "OPENBLAS_")
"""Prefixes of variables that take effect while libraries are loaded."""
_SET_CHILD_SUBREAPER: Final = 36

_libc: Final = ctypes.CDLL(None)


class Nursery:
    """Forks children of this process on request. Only one thread may call it at a time."""

    def __init__(self, connection: socket.socket, room: int, end: Callable[[], object]) -> None:
        """`room` is the longest command line in bytes; `end` waits for the process to end."""
        self._connection = connection
        self._room = room
        self._end = end
        self._loaded_with = _read_by_libraries(os.environ)

    @classmethod
    def started(cls) -> Self:
        """A nursery in a new process, which ends with this one.

        Raises:
            OSError: it cannot be started.
        """
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", "tests.warm_starts", str(far.fileno()), _ROOM]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # fork takes only one thread
        with far:
            process = subprocess.Popen(words, cwd=_ROOT, env=environment, pass_fds=[far.fileno()])

        def end() -> None:
            near.close()
            process.wait()

        atexit.register(end)
        return cls(near, _number(near), end)

    def suits(self, asked: Request) -> bool:
        """Whether it can start this process exactly as asked."""
        shown = len(command_line.encoded(asked.words)) <= self._room
        same_libraries = _read_by_libraries(asked.environment) == self._loaded_with
        return shown and same_libraries and len(asked.encode()) < request.LIMIT

    def start(self, asked: Request, descriptors: Sequence[int]) -> int:
        """The process id of a new child of this process.

        `descriptors` become its standard input, output and error.

        Raises:
            OSError: it was not started.
        """
        # The child is orphaned on purpose: the nearest subreaper, this process, adopts it.
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._connection, [asked.encode()], descriptors)
            return _number(self._connection)
        finally:
            _libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def close(self) -> None:
        """End its process."""
        self._connection.close()
        self._end()


class Nurseries:
    """One nursery at a time, replaced when it fails. Thread-safe."""

    def __init__(self, nurseries: Iterator[Nursery]) -> None:
        """`nurseries` yields the next one to use; once it is exhausted everything starts cold."""
        self._nurseries = nurseries
        self._nursery: Nursery | None = None
        self._turn = threading.Lock()

    def start(self, asked: Request, descriptors: Sequence[int]) -> int | None:
        """The process id of a new child; None if it has to be started cold."""
        with self._turn:
            for _ in range(2):
                try:
                    self._nursery = self._nursery or next(self._nurseries, None)
                    if self._nursery is None or not self._nursery.suits(asked):
                        return None
                    return self._nursery.start(asked, descriptors)
                except OSError as fault:
                    sys.stderr.write(f"No warm start: {fault}\n")
                    if self._nursery is not None:
                        self._nursery.close()
                    self._nursery = None
        return None


def _number(connection: socket.socket) -> int:
    said = connection.recv(16)
    if not said:
        raise OSError(errno.EAGAIN, "the nursery has died, or could not fork")
    return int(said)


def _read_by_libraries(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: each for name, each in environment.items() if name.startswith(_BY_LIBRARIES)}
