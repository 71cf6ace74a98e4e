"""`python -m tests.command_server SOCKET`: runs each `paddock` command in a fork of this process.

Imports all commands once, then listens on SOCKET. A client sends a `Command` with its standard
streams and receives the exit code. Ends when its standard input is closed. Started by
`tests.paddock_commands`.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, Final, NoReturn

from sqlalchemy import orm

from app import cli

LIMIT: Final = 1 << 17
"""Bytes of the words and the environment of a command."""


def prepare() -> None:
    """Import everything that commands import."""
    for name, (module, help) in cli.COMMANDS.items():
        cli.load(module, name, help)
    orm.configure_mappers()
    gc.freeze()


def listen(address: str) -> None:
    """Serve until standard input is closed; writes a line to standard output when ready."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    sys.stdout.write("\n")
    sys.stdout.flush()
    children = 0
    while 0 not in select.select([0, listener.fileno()], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            _serve(connection)
        connection.close()
        children += 1
        while children and os.waitpid(-1, os.WNOHANG)[0]:
            children -= 1


def _serve(connection: socket.socket) -> NoReturn:
    """Run the command of one client, and report how it ended."""
    said, descriptors, _, _ = socket.recv_fds(connection, LIMIT, 3)
    child = os.fork()
    if child == 0:
        _run(json.loads(said), descriptors)
    connection.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os._exit(0)


def _run(asked: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Be the command: its streams, folder, environment and words, for at most `bound_s`."""
    signal.alarm(asked["bound_s"])
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 1)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["paddock", *asked["words"]]
    code = _exit_code()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code() -> int:
    """What the interpreter would exit with."""
    try:
        cli.main()
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        sys.stderr.write(f"{left.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 as the interpreter does at the end of a program
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    prepare()
    listen(sys.argv[1])
