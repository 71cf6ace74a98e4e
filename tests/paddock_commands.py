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
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

BOUND_S: Final = 120

_SERVER: Final = """
import json, os, signal, sys, traceback
from app import cli
for name, (module, help) in cli.COMMANDS.items():
    cli.load(module, name, help)

def command(asked):
    signal.alarm(asked["bound_s"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["out"], os.O_WRONLY),
        (2, asked["err"], os.O_WRONLY),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
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

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        command(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks; it ends when its standard input is closed."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    atexit.register(_close, server)
    return server


def _close(server: subprocess.Popen[str]) -> None:
    server.communicate()


def run(*words: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """One command, to its end, with this environment and without a terminal.

    Raises:
        subprocess.TimeoutExpired: it took longer than two minutes, and was killed.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        asked = {
            "words": words, "environment": {**environment},
            "out": out.name, "err": err.name, "bound_s": BOUND_S,
        }  # fmt: skip
        server.stdin.write(json.dumps(asked) + "\n")
        code = int(server.stdout.readline())
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(["paddock", *words], BOUND_S, out.read(), err.read())
        return subprocess.CompletedProcess(["paddock", *words], code, out.read(), err.read())
