"""Starts the processes of a box from one that has imported their libraries.

Most of what a node costs a test is the import of libraries: half a second of processor time for
each of its processes. Here `python -m engine.gateway` and its like are forked from a nursery that
has done the imports. Each is still a process with an id, a session, an environment, descriptors and
a command line as asked for; it is a child of the process that asked for it, and its `__main__` is
run anew. What a nursery cannot start like that, and what it fails to start, is started cold.

It promises less than a cold start. All processes of a nursery share one hash seed, and /proc shows
the environment of the nursery. An import that works only because another module was imported
before works here, too: tests/test_warm_starts.py starts each of `MODULES` cold, and so does a test
that asks for `cold_starts`. A process may ask for a signal when its parent dies (PR_SET_PDEATHSIG);
its parent is some thread of the process that asked for it, which need not be the one that called.

Imported by tests/conftest.py, which starts the nursery as `python -m tests.warm_starts`.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
_NURSERIES: Final = 3  # of a process of pytest; then it starts cold
_SET_CHILD_SUBREAPER: Final = 36
_SET_MM: Final = 35
_SET_MM_MAP: Final = 14

_execute: Final[Callable[..., None]] = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_PARAMETERS: Final = tuple(inspect.signature(_execute).parameters)[1:]
_TO_THE_GROUP: Final = (signal.SIGINT, signal.SIGTERM)
_libc: Final = ctypes.CDLL(None)
_libc.sbrk.restype = ctypes.c_void_p


class Nursery:
    """Asks for processes, which become children of this one. One thread at a time calls it."""

    def __init__(self, connection: socket.socket, room: int, end: Callable[[], object]) -> None:
        self._connection = connection
        self._room = room
        self._end = end
        self._loaded_with = _read_by_libraries(os.environ)

    @classmethod
    def started(cls) -> Nursery:
        """In a process that ends with this one. Raises OSError where that cannot start."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", "tests.warm_starts", str(far.fileno()), _ROOM]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # only one thread can fork
        with far:
            process = subprocess.Popen(words, cwd=_ROOT, env=environment, pass_fds=[far.fileno()])

        def end() -> None:
            near.close()
            process.wait()

        atexit.register(end)
        return cls(near, _number(near), end)

    def suits(self, asked: Mapping[str, Any]) -> bool:
        """Whether a process from here is as asked for, down to its command line."""
        fits = len(_encoded(asked["words"])) <= self._room and len(json.dumps(asked)) < _LIMIT
        return fits and _read_by_libraries(asked["environment"]) == self._loaded_with

    def start(self, asked: Mapping[str, Any], descriptors: list[int]) -> int:
        """The process id of a new child. Raises OSError when there is none."""
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._connection, [json.dumps(asked).encode()], descriptors)
            return _number(self._connection)
        finally:
            _libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def close(self) -> None:
        """Its process has ended."""
        self._connection.close()
        self._end()


class _Starts:
    """Starts from one nursery, and from the next after that failed."""

    def __init__(self, nurseries: Iterator[Nursery]) -> None:
        self._nurseries = nurseries
        self._nursery: Nursery | None = None
        self._turn = threading.Lock()

    def start(self, asked: Mapping[str, Any], descriptors: list[int]) -> int | None:
        """The process id of a new child; none if it has to be started cold."""
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


@contextmanager
def warm() -> Iterator[None]:
    """In this block the processes of `MODULES` come from a nursery; it starts with the first."""
    before = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    _replace(Nursery.started() for _ in range(_NURSERIES))
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


def _replace(nurseries: Iterator[Nursery]) -> None:
    starts = _Starts(nurseries)

    def execute(self: Any, *values: Any) -> None:
        given = dict(zip(_PARAMETERS, values, strict=True))
        ends = (given["p2cread"], given["c2pwrite"], given["errwrite"])
        descriptors = [number if end == -1 else end for number, end in enumerate(ends)]
        pid = starts.start(_asked(given), descriptors) if _is_ours(given) else None
        if pid is None:
            _execute(self, *values)
            return
        self.pid = pid
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))

    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]


def _is_ours(given: Mapping[str, Any]) -> bool:
    """Whether it is of `MODULES`, and nothing is asked for that a nursery does not do."""
    words = given["args"]
    if not isinstance(words, list | tuple) or [*words[:2]] != [sys.executable, "-m"]:
        return False
    ours = words[2] in MODULES and all(isinstance(word, str) for word in words)
    unasked = ("preexec_fn", "pass_fds", "shell", "executable", "gid", "gids", "uid")
    plain = not any(given[name] for name in unasked) and given["process_group"] == -1
    return ours and plain and given["close_fds"] and Path(os.fsdecode(given["cwd"] or ".")).is_dir()


def _asked(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "words": given["args"],
        "environment": dict(os.environ if given["env"] is None else given["env"]),
        "folder": os.fsdecode(given["cwd"] or Path.cwd()),
        "umask": given["umask"],
        "session": given["start_new_session"],
    }


def _number(connection: socket.socket) -> int:
    said = connection.recv(16)
    if not said:
        raise OSError(errno.EAGAIN, "the nursery has died, or could not fork")
    return int(said)


def _read_by_libraries(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: each for name, each in environment.items() if name.startswith(_BY_LIBRARIES)}


class _Map(ctypes.Structure):
    """`struct prctl_mm_map` of linux/prctl.h: where the kernel finds the parts of a process."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in (
            "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack",
            "arg_start", "arg_end", "env_start", "env_end", "auxv",
        )),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    )  # fmt: skip


_IN_STAT: Final = {
    "start_code": 26, "end_code": 27, "start_stack": 28, "start_data": 45, "end_data": 46,
    "start_brk": 47, "arg_start": 48, "arg_end": 49, "env_start": 50, "env_end": 51,
}  # fmt: skip
"""The fields of /proc/self/stat, counted from one as in proc(5)."""


class _CommandLine:
    """The memory from which the kernel reads the command line of this process and its forks."""

    def __init__(self) -> None:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        places = {name: int(fields[number - 3]) for name, number in _IN_STAT.items()}
        self._map = _Map(**places, auxv=0, auxv_size=0, exe_fd=2**32 - 1)  # none, and unchanged
        self._bytes: Final = self._map.arg_end - self._map.arg_start
        words = [sys.executable, "-m", "tests.warm_starts"]
        self.write(words)
        exact = Path("/proc/self/cmdline").read_bytes() == _encoded(words)
        self.room: Final = self._bytes if exact else 0
        """Bytes of a command line that can be shown exactly."""

    def write(self, words: list[str]) -> None:
        """Show these."""
        text = _encoded(words)[: self._bytes]
        ctypes.memmove(self._map.arg_start, text.ljust(self._bytes, b"\0"), self._bytes)
        self._map.arg_end = self._map.arg_start + len(text)
        self._map.brk = _libc.sbrk(0)
        _libc.prctl(_SET_MM, _SET_MM_MAP, ctypes.byref(self._map), ctypes.sizeof(_Map), 0)


def _encoded(words: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _births(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork what is asked for. Returns what to be in each of them, and None at the end here.

    Signals to the process group, such as Ctrl-C, are not for a nursery: it ends with its owner.
    """
    handlers = {each: signal.signal(each, signal.SIG_IGN) for each in _TO_THE_GROUP}
    while True:
        said, descriptors, _, _ = socket.recv_fds(connection, _LIMIT, 3)
        if not said:
            return None
        born, birth = os.pipe()
        orphaned, held = os.pipe()
        between = os.fork()
        if between == 0:
            for each, handler in handlers.items():  # before there is a child that may be signalled
                signal.signal(each, handler)
            _fork_again(birth)
            os.close(held)
            if not os.read(orphaned, 1):
                os._exit(1)  # the nursery could not tell of it
            connection.detach()
            return json.loads(said), descriptors
        os.close(birth)
        os.waitpid(between, 0)  # its child becomes one of the process that asked, its next ancestor
        child = os.read(born, 16)
        connection.send(child)
        if child:
            os.write(held, b"1")
        for number in (born, orphaned, held, *descriptors):
            os.close(number)


def _fork_again(birth: int) -> None:
    """Returns in a child. This process tells its id and ends; it only ends where there is none."""
    try:
        child = os.fork()
    except OSError:
        os._exit(1)
    if child:
        os.write(birth, str(child).encode())
        os._exit(0)
    os.close(birth)


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
        with suppress(ProcessLookupError, ChildProcessError):  # it failed and was ended before
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    atexit.register(end)
    _replace(iter([Nursery(near, shown.room, end)]))


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
    asking, line = socket.socket(fileno=int(sys.argv[1])), _CommandLine()
    asking.send(str(line.room).encode())
    _run(asking, line)
