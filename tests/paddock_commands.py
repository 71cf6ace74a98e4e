"""Runs `paddock` commands in processes forked from one that has imported them.

Every command runs in a separate process, through the same `main` as the installed command; only the
imports, which take most of its processor time, happen once, in `tests.command_server`. Imports
themselves are tested where a test starts `paddock` by its path. Imported by tests.
"""

from __future__ import annotations

import atexit
import functools
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

BOUND_S: Final = 120

_ROOT: Final = Path(__file__).parents[1]
_COMMAND: Final = """#!{python} -IS
import json, os, socket, sys
asked = {{
    "words": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd(),
    "bound_s": {bound_s},
}}
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
code = int(server.recv(16))
sys.exit(code if code >= 0 else 128 - code)
"""


@functools.cache
def _server() -> str:
    """The socket of the process that forks; it ends when its standard input is closed."""
    folder = tempfile.TemporaryDirectory()
    address = f"{folder.name}/socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.command_server", address],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT,
    )  # fmt: skip
    atexit.register(_close, server, folder)
    assert server.stdout is not None
    server.stdout.readline()
    return address


def _close(server: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    server.communicate()
    folder.cleanup()


def install(folder: Path) -> None:
    """Put an executable `paddock` that runs its commands in such processes into a folder."""
    made = folder / "paddock"
    made.write_text(_COMMAND.format(python=sys.executable, address=_server(), bound_s=BOUND_S))
    made.chmod(0o700)


def run(*words: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """One command, to its end, with this environment and without a terminal.

    Raises:
        subprocess.TimeoutExpired: it took longer than two minutes, and was killed.
    """
    asked = {
        "words": words, "environment": {**environment}, "folder": str(_ROOT), "bound_s": BOUND_S,
    }  # fmt: skip
    with (
        Path("/dev/null").open() as nothing,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server,
    ):
        server.connect(_server())
        given = [nothing.fileno(), out.fileno(), err.fileno()]
        socket.send_fds(server, [json.dumps(asked).encode()], given)
        code = int(server.recv(16))
        for written in (out, err):
            written.seek(0)
        said = (out.read(), err.read())
    if code == -signal.SIGALRM:
        raise subprocess.TimeoutExpired(["paddock", *words], BOUND_S, *said)
    return subprocess.CompletedProcess(["paddock", *words], code, *said)
