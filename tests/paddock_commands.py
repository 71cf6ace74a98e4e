"""Runs `paddock` commands in processes forked from one that has imported them.

Every command runs in a process of its own, through the same `main` as the installed command; only
the import of its libraries, most of its processor time, happens once. What the imports themselves
do is tested where a test starts `paddock` by its path. Imported by tests.
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
_LIMIT: Final = 1 << 17  # of the words and the environment of a command, in bytes

_SERVER: Final = """
import gc, json, os, select, signal, socket, sys, traceback
from sqlalchemy import orm
from app import cli
for name, (module, help) in cli.COMMANDS.items():
    cli.load(module, name, help)
orm.configure_mappers()
gc.freeze()

def command(asked, descriptors):
    signal.alarm(asked["bound_s"])
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 1)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
    sys.argv = ["paddock", *asked["words"]]
    try:
        cli.main()
        code = 0
    except SystemExit as left:
        code = left.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

def serve(connection):
    said, descriptors, _, _ = socket.recv_fds(connection, int(sys.argv[2]), 3)
    child = os.fork()
    if child == 0:
        command(json.loads(said), descriptors)
    connection.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os._exit(0)

listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print(flush=True)
children = 0
while 0 not in select.select([0, listener], [], [])[0]:
    connection, _ = listener.accept()
    if os.fork() == 0:
        serve(connection)
    connection.close()
    children += 1
    while children and os.waitpid(-1, os.WNOHANG)[0]:
        children -= 1
"""

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
    """Where the process listens that forks; it ends when its standard input is closed."""
    folder = tempfile.TemporaryDirectory()
    address = f"{folder.name}/socket"
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, address, str(_LIMIT)],
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
    """Put a `paddock` into a folder, for a PATH, that runs its commands in such processes."""
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
