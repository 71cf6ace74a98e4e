"""The program of a nursery: `python -m tests.warm_starts SOCKET ROOM`.

SOCKET is the descriptor that requests arrive on; ROOM is padding, in whose place the command lines
of its processes are written. Started by `Nursery.started`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import runpy
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import orm

from runbooks import catalog
from storage.home.paths import Home
from tests.warm_starts import MODULES, forking, popen
from tests.warm_starts.command_line import CommandLine
from tests.warm_starts.nursery import Nursery

_NOT_IMPORTED: Final = "engine.serving"
"""A worker shares most libraries but loads libllama itself: its threads do not survive a fork."""

_LATER: Final = ("engine.node.node", "engine.node.recovery", "storage.home.access")
"""What the entry points of `MODULES` import only after their first work."""


def prepare() -> None:
    """Import and compute everything that the processes share."""
    for name in MODULES:
        if name != _NOT_IMPORTED:
            importlib.import_module(f"{name}.__main__")
            del sys.modules[f"{name}.__main__"]  # each process runs it
    for name in _LATER:
        importlib.import_module(name)
    orm.configure_mappers()  # otherwise done by the first statement
    catalog.every(Home(Path(__file__).parents[2]))  # caches the shipped runbooks
    gc.freeze()


def run(connection: socket.socket, shown: CommandLine) -> None:
    """Fork until the connection is closed; in a forked process, run the module asked for."""
    born = forking.births(connection)
    if born is None:
        return
    asked, descriptors = born
    forking.become(asked, descriptors, shown)
    name = asked.words[2]
    if name == "engine":
        _own_nursery(shown)
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    sys.exit()


def _own_nursery(shown: CommandLine) -> None:
    """Give a node a nursery for its processes: a child of the node that ends with it."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        near.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        os.close(nothing)
        run(far, shown)
        os._exit(0)
    far.close()

    def end() -> None:
        with suppress(ProcessLookupError, ChildProcessError):  # it failed and was ended before
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    atexit.register(end)
    popen.use(iter([Nursery(near, shown.room, end)]))


if __name__ == "__main__":
    prepare()
    asking, line = socket.socket(fileno=int(sys.argv[1])), CommandLine()
    asking.send(str(line.room).encode())
    run(asking, line)
