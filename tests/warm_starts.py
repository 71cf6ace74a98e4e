"""Starts the processes of a box from one that has imported their libraries.

Most of what a node costs a test is the import of libraries: half a second of processor time for
each of its processes. Here `python -m engine.gateway` and its like are forked from a nursery that
has done the imports. Each is still a process with an id, a session, an environment, descriptors and
a command line as asked for; it is a child of the process that asked for it, and its `__main__` is
run anew. Imports are tested where `paddock` is started by its path, and where a test asks for
`cold_starts`. Imported by tests/conftest.py, which starts the nursery as `python -m
tests.warm_starts`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import orm

from runbooks import catalog
from storage.home.paths import Home

MODULES: Final = (
    "engine", "engine.control", "engine.gateway", "engine.jobs", "engine.reads", "runbooks",
    "engine.serving",
)  # fmt: skip
"""What is started warm."""

_ALONE: Final = "engine.serving"
"""A worker finds most libraries, and loads libllama itself: its threads can be in no fork."""

_LATER: Final = ("engine.node.node", "engine.node.recovery", "storage.home.access")
"""What the entry points of `MODULES` import after their first work."""

_BY_LIBRARIES: Final = ("PYTHON", "LD_", "OMP_", "GOMP_", "OPENBLAS_")
"""Variables that are read while libraries are loaded."""

_ROOT: Final = Path(__file__).parents[1]
_LIMIT: Final = 1 << 17  # of the words and the environment of a process, in bytes
_ROOM: Final = "." * 4096  # for its command line
_SET_CHILD_SUBREAPER: Final = 36
_SET_MM: Final = 35
_SET_MM_ARG_END: Final = 9

_execute: Final[Callable[..., None]] = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_PARAMETERS: Final = tuple(inspect.signature(_execute).parameters)[1:]
_libc: Final = ctypes.CDLL(None)


class Nursery:
    """Asks for processes, which become children of this one."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    @classmethod
    def started(cls) -> Nursery:
        """In a process that ends with this one."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", "tests.warm_starts", str(far.fileno()), _ROOM]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # only one thread can fork
        with far:
            process = subprocess.Popen(words, cwd=_ROOT, env=environment, pass_fds=[far.fileno()])

        def end() -> None:
            near.close()
            process.wait()

        atexit.register(end)
        return cls(near)

    def start(self, asked: Mapping[str, Any], descriptors: list[int]) -> int:
        """The process id of a new child."""
        with self._turn:
            _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._connection, [json.dumps(asked).encode()], descriptors)
                return int(self._connection.recv(16))
            finally:
                _libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@contextmanager
def warm() -> Iterator[None]:
    """In this block the processes of `MODULES` come from a nursery; it starts with the first."""
    nursery: list[Nursery] = []

    def start(asked: Mapping[str, Any], descriptors: list[int]) -> int:
        if not nursery:
            nursery.append(Nursery.started())
        return nursery[0].start(asked, descriptors)

    before = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    _replace(start)
    try:
        yield
    finally:
        subprocess.Popen._execute_child = before  # type: ignore[attr-defined]


@contextmanager
def cold() -> Iterator[None]:
    """In this block they import their libraries."""
    before = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    subprocess.Popen._execute_child = _execute  # type: ignore[attr-defined]
    try:
        yield
    finally:
        subprocess.Popen._execute_child = before  # type: ignore[attr-defined]


def _replace(start: Callable[[Mapping[str, Any], list[int]], int]) -> None:
    def execute(self: Any, *values: Any) -> None:
        given = dict(zip(_PARAMETERS, values, strict=True))
        if not _is_warm(given):
            _execute(self, *values)
            return
        ends = (given["p2cread"], given["c2pwrite"], given["errwrite"])
        try:
            self.pid = start(
                {
                    "words": given["args"],
                    "environment": dict(os.environ if given["env"] is None else given["env"]),
                    "folder": os.fspath(given["cwd"] or Path.cwd()),
                    "umask": given["umask"],
                    "session": given["start_new_session"],
                },
                [number if end == -1 else end for number, end in enumerate(ends)],
            )
            self._child_created = True
        finally:
            pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(given[name] for name in pipes))

    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]


def _is_warm(given: Mapping[str, Any]) -> bool:
    """Whether it is of `MODULES`, and starts as an import of its libraries here would."""
    words = given["args"]
    if not isinstance(words, list | tuple) or [*words[:2]] != [sys.executable, "-m"]:
        return False
    ours = words[2] in MODULES and all(isinstance(word, str) for word in words)
    unasked = ("preexec_fn", "pass_fds", "shell", "executable", "gid", "gids", "uid")
    plain = not any(given[name] for name in unasked) and given["process_group"] == -1
    environment = os.environ if given["env"] is None else given["env"]
    return ours and plain and _read_by_libraries(environment) == _read_by_libraries(os.environ)


def _read_by_libraries(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: each for name, each in environment.items() if name.startswith(_BY_LIBRARIES)}


class _CommandLine:
    """The memory from which the kernel reads the command line of this process and its forks."""

    def __init__(self) -> None:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        self._begin, end = int(fields[45]), int(fields[46])
        self._bytes = end - self._begin

    def write(self, words: list[str]) -> None:
        """Show these."""
        text = "".join(f"{word}\0" for word in words).encode()[: self._bytes - 1]
        ctypes.memmove(self._begin, text.ljust(self._bytes, b"\0"), self._bytes)
        shown = ctypes.c_ulong(self._begin + len(text))
        _libc.prctl(_SET_MM, _SET_MM_ARG_END, shown, 0, 0)  # without privilege: empty words remain


def _births(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork whoever is asked for. Returns what to be in each of them, and None at the end here."""
    while True:
        said, descriptors, _, _ = socket.recv_fds(connection, _LIMIT, 3)
        if not said:
            return None
        born, birth = os.pipe()
        orphaned, held = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child:
                os.write(birth, str(child).encode())
                os._exit(0)  # the child becomes one of the process that asked, its next ancestor
            os.close(held)
            os.read(orphaned, 1)
            connection.detach()
            return json.loads(said), descriptors
        os.waitpid(between, 0)
        connection.send(os.read(born, 16))
        for each in (born, birth, orphaned, held, *descriptors):
            os.close(each)


def _become(asked: dict[str, Any], descriptors: list[int], shown: _CommandLine) -> None:
    """What a new process is before its first line."""
    if asked["session"]:
        os.setsid()
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(asked["folder"])
    if asked["umask"] >= 0:
        os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    shown.write(asked["words"])
    sys.argv = asked["words"][2:]


def _own_nursery(shown: _CommandLine) -> None:
    """A node starts its processes from a nursery that is its child and ends with it."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        near.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        os.close(nothing)
        _run(far, shown)
        os._exit(0)
    far.close()

    def end() -> None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    atexit.register(end)
    _replace(Nursery(near).start)


def _run(connection: socket.socket, shown: _CommandLine) -> None:
    """Be a nursery; in the processes that it forks, be what was asked for."""
    born = _births(connection)
    if born is None:
        return
    asked, descriptors = born
    _become(asked, descriptors, shown)
    name = asked["words"][2]
    if name == "engine":
        _own_nursery(shown)
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    sys.exit()


def _prepare() -> None:
    for name in MODULES:
        if name == _ALONE:
            continue
        importlib.import_module(f"{name}.__main__")
        del sys.modules[f"{name}.__main__"]  # each process runs it
    for name in _LATER:
        importlib.import_module(name)
    orm.configure_mappers()  # the first statement would
    catalog.every(Home(_ROOT))  # reads the shipped runbooks, which the runner keeps
    gc.freeze()


if __name__ == "__main__":
    _prepare()
    _run(socket.socket(fileno=int(sys.argv[1])), _CommandLine())
