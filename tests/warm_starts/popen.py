"""Makes subprocess.Popen start the processes of `MODULES` from a nursery.

Replaces the one method of Popen that forks and executes; everything around it, pipes and waiting
included, is Popen's own. Imported by tests/conftest.py and by `tests.warm_starts`.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.warm_starts import MODULES
from tests.warm_starts.nursery import Nurseries, Nursery
from tests.warm_starts.request import Request

_NURSERIES: Final = 3  # in one run of tests; after that everything starts cold

_execute: Final[Callable[..., None]] = subprocess.Popen._execute_child  # type: ignore[attr-defined]
PARAMETERS: Final = tuple(inspect.signature(_execute).parameters)[1:]
"""The names of the arguments with which Popen calls it."""


@contextmanager
def warm() -> Iterator[None]:
    """In this block they come from a nursery, which starts with the first of them."""
    with _kept():
        use(Nursery.started() for _ in range(_NURSERIES))
        yield


@contextmanager
def cold() -> Iterator[None]:
    """In this block they are started as without this package."""
    with _kept():
        _replace(_execute)
        yield


def use(nurseries: Iterator[Nursery]) -> None:
    """From now on start them from the first of these nurseries that works."""
    starts = Nurseries(nurseries)

    def execute(self: Any, *values: Any) -> None:
        given = dict(zip(PARAMETERS, values, strict=True))
        ends = (given["p2cread"], given["c2pwrite"], given["errwrite"])
        descriptors = [number if end == -1 else end for number, end in enumerate(ends)]
        pid = starts.start(_request(given), descriptors) if is_ours(given) else None
        if pid is None:
            _execute(self, *values)
            return
        self.pid = pid
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))

    _replace(execute)


def is_ours(given: Mapping[str, Any]) -> bool:
    """Whether it runs one of `MODULES` and asks for nothing that a nursery does not do."""
    words = given["args"]
    if not isinstance(words, list | tuple) or [*words[:2]] != [sys.executable, "-m"]:
        return False
    ours = words[2] in MODULES and all(isinstance(word, str) for word in words)
    unasked = ("preexec_fn", "pass_fds", "shell", "executable", "gid", "gids", "uid")
    plain = not any(given[name] for name in unasked) and given["process_group"] == -1
    return ours and plain and given["close_fds"] and Path(os.fsdecode(given["cwd"] or ".")).is_dir()


def _request(given: Mapping[str, Any]) -> Request:
    return Request(
        words=tuple(given["args"]),
        environment=dict(os.environ if given["env"] is None else given["env"]),
        folder=os.fsdecode(given["cwd"] or Path.cwd()),
        umask=given["umask"],
        session=given["start_new_session"],
    )


@contextmanager
def _kept() -> Iterator[None]:
    before = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    try:
        yield
    finally:
        _replace(before)


def _replace(execute: Callable[..., None]) -> None:
    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]
