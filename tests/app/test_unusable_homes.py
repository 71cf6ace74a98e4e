"""A data directory that cannot be one: a sentence and an exit code, never a traceback or a wait."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import paddock_commands


def paddock(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on that home, in a process of its own."""
    return paddock_commands.run(*words, environment={**os.environ, "PADDOCK_HOME": str(home)})


def a_file(root: Path) -> Path:
    """The home is a file."""
    root.touch()
    return root


def inside(name: str, make: Callable[[Path], object]) -> Callable[[Path], Path]:
    """In the home, something else is in the place of `name`."""

    def home(root: Path) -> Path:
        path = root / name
        path.parent.mkdir(mode=0o700, parents=True)
        root.chmod(0o700)
        make(path)
        return root

    return home


UNUSABLE = {
    "a file": (a_file, 1),
    "a file above": (lambda root: a_file(root) / "home", 1),
    "proc": (lambda _: Path("/proc/nope"), 1),
    "logs": (inside("logs", Path.touch), 1),
    "run": (inside("run", Path.touch), 1),
    "models": (inside("models", Path.touch), 1),
    "secrets": (inside("secrets", Path.touch), 1),
    "config": (inside("config.toml", os.mkfifo), 1),
    "log": (inside("logs/node.log", os.mkfifo), 1),
    "lock": (inside("node.lock", Path.mkdir), 1),
    "identity": (inside("home.json", Path.mkdir), 1),
    "identity as a pipe": (inside("home.json", os.mkfifo), 1),
    "store": (inside("paddock.db", os.mkfifo), 1),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_serving_there_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    """It names what is in the way."""
    make, code = UNUSABLE[case]
    said = paddock(make(tmp_path / "home"), "serve", "--detach")
    assert said.returncode == code, said
    assert len(said.stderr.splitlines()) == 1, said.stderr
    assert "Errno" not in said.stderr


@pytest.mark.parametrize(
    ("case", "code"),
    [("a file", 3), ("proc", 3), ("store", 1), ("identity", 1), ("identity as a pipe", 1)],
)
def test_looking_there_ends_with_a_sentence(case: str, code: int, tmp_path: Path) -> None:
    """No box is one kind of answer, an unreadable one another; a FIFO does not hang."""
    make, _ = UNUSABLE[case]
    said = paddock(make(tmp_path / "home"), "status")
    assert (said.returncode, len(said.stderr.splitlines())) == (code, 1), said
