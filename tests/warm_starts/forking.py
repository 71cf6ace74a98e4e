"""How a nursery forks the processes it is asked for, and what each sets up before its first line.

Imported by the program of a nursery, `tests.warm_starts.__main__`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Final

from tests.warm_starts import request
from tests.warm_starts.command_line import CommandLine
from tests.warm_starts.request import Request

TO_THE_GROUP: Final = (signal.SIGINT, signal.SIGTERM)
"""Signals that may be sent to the whole process group, as by Ctrl-C."""


def births(connection: socket.socket) -> tuple[Request, list[int]] | None:
    """Fork a process for each request. Returns the request in each of them, and None at the end.

    The nursery ignores `TO_THE_GROUP`: it ends with its owner, which may still need it to drain.
    """
    handlers = {each: signal.signal(each, signal.SIG_IGN) for each in TO_THE_GROUP}
    while True:
        said, descriptors, _, _ = socket.recv_fds(connection, request.LIMIT, 3)
        if not said:
            return None
        born, birth = os.pipe()
        orphaned, held = os.pipe()
        between = os.fork()
        if between == 0:
            for each, handler in handlers.items():  # before there is a child that may be signalled
                signal.signal(each, handler)
            fork_again(birth)
            os.close(held)
            if not os.read(orphaned, 1):
                os._exit(1)  # the nursery died before it could report the process id
            connection.detach()
            return Request.decode(said), descriptors
        os.close(birth)
        os.waitpid(between, 0)  # the subreaper that asked adopts its child
        child = os.read(born, 16)
        connection.send(child)
        if child:
            os.write(held, b"1")
        for number in (born, orphaned, held, *descriptors):
            os.close(number)


def fork_again(birth: int) -> None:
    """Fork, and return in the child only. The parent writes its id to `birth` and exits."""
    try:
        child = os.fork()
    except OSError:
        os._exit(1)
    if child:
        os.write(birth, str(child).encode())
        os._exit(0)
    os.close(birth)


def become(asked: Request, descriptors: list[int], shown: CommandLine) -> None:
    """Give this process the session, streams, folder, environment and command line asked for."""
    if asked.session:
        os.setsid()
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(asked.folder)
    if asked.umask >= 0:
        os.umask(asked.umask)
    os.environ.clear()
    os.environ.update(asked.environment)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    shown.write(asked.words)
    sys.argv = list(asked.words[2:])
