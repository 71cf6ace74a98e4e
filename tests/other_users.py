"""Other users of this machine, for tests that run as root: a process under unused ids.

Their Python may lie where they cannot read, so what they need is loaded as root; then the process
goes over for good. Needs no account: the kernel asks for numbers only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

BOUND_S: Final = 120.0

only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

_GOES_OVER: Final = """
import json, os, sys
words = [json.loads(word) for word in sys.argv[1:]]
def goes_over(uid, groups):
    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)
"""

_COMMANDS: Final = """
import _strptime, contextlib, io
from app import cli
def paddock(line):
    sys.argv = ["paddock", *line]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
        except Exception as fault:
            code = 70
            print(repr(fault), file=sys.stderr)
    return code, out.getvalue(), err.getvalue()
asked = {line[0] for _, _, lines in words[0] for line in lines}
for name in sorted(asked | {"status", "services"}):
    cli.load(cli.COMMANDS[name][0], name, "")
paddock(["status"])
paddock(["services", "list"])
for uid, groups, lines in words[0]:
    if os.fork() == 0:
        goes_over(uid, groups)
        print(json.dumps([paddock(line) for line in lines]), flush=True)
        os._exit(0)
    os.wait()
"""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class User:
    """A user by number, with the groups they are in beside their own."""

    uid: int
    groups: tuple[int, ...] = ()

    def start(self, source: str, *words: object) -> subprocess.Popen[str]:
        """Python that is root until it calls `goes_over(*words[0])`; `words` are its arguments."""
        return _start(source, (self.uid, self.groups), *words)

    def python(self, source: str, *words: object) -> str:
        """The same, to its end; what it printed."""
        return _end(self.start(source, *words))


def paddock(
    asked: Mapping[User, Sequence[Sequence[str]]], *, bound_s: float = BOUND_S
) -> list[list[Said]]:
    """Run commands of `paddock` as these users, on the home of the environment."""
    people = [(who.uid, who.groups, lines) for who, lines in asked.items()]
    said = _end(_start(_COMMANDS, people), bound_s).splitlines()
    assert len(said) == len(people), said
    return [[Said(*each) for each in json.loads(line)] for line in said]


def _start(source: str, *words: object) -> subprocess.Popen[str]:
    given = [json.dumps(word) for word in words]
    return subprocess.Popen(
        [sys.executable, "-c", _GOES_OVER + source, *given],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str], bound_s: float = BOUND_S) -> str:
    try:
        out, err = process.communicate(timeout=bound_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert not err, err
    return out


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter, unlike those of the tests; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="paddock-") as name:
        place = Path(name)
        if not all(each.stat().st_mode & 0o001 for each in place.parents):
            pytest.skip(f"others may not enter {place.parent}")
        place.chmod(0o755)
        yield place
