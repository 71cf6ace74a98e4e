"""`paddock demo` without a screen: the first thing that a new user, or a build server, runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from tests import paddock_commands

PADDOCK = Path(sys.executable).with_name("paddock")


def started(home: Path, seconds: float) -> subprocess.Popen[str]:
    """A demo on this home, without a screen, where another box is named as the user's."""
    return subprocess.Popen(
        [PADDOCK, "demo", "--home", home, "--headless", "--seconds", str(seconds)],
        env={**os.environ, "PADDOCK_HOME": str(home.with_name("real")), "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(lines: IO[str], wanted: str) -> str:
    """What is printed up to the line that holds `wanted`."""
    said = ""
    for line in lines:
        said += line
        if wanted in line:
            return said
    pytest.fail(f"ended without {wanted!r}: {said}")


def paddock(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One command about this home."""
    return paddock_commands.run(*words, environment={**os.environ, "PADDOCK_HOME": str(home)})


def stopped(home: Path) -> bool:
    """Whether no node answers on this home."""
    return paddock(home, "status").returncode == 3


def working(home: Path) -> set[str]:
    """The names of the keys that are not revoked."""
    keys = json.loads(paddock(home, "keys", "list", "--json").stdout)
    return {key["name"] for key in keys if key["revoked_at_us"] is None}


@contextmanager
def demo(home: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The same, told to leave at the end whatever happened."""
    process = started(home, seconds)
    try:
        with process:
            try:
                yield process
            finally:
                process.terminate()
    finally:
        paddock(home, "stop")


def test_a_demo_answers_from_both_arms_and_stops(tmp_path: Path) -> None:
    """Exit code 0 means: both arms answered, it was recorded and labelled, nothing is left running.

    The port it would like is taken meanwhile, and the curl line it prints works.
    """
    home = tmp_path / "demo"
    with socket.socket() as taken:
        with suppress(OSError):  # another program holds it already, which serves as well
            taken.bind(("127.0.0.1", 8411))
            taken.listen()
        with demo(home, 6) as process:
            assert process.stdout is not None
            said = until(process.stdout, "curl ")
            assert "synthetic load" in said
            curl = re.search(r"^curl .*$", said, re.MULTILINE)
            assert curl is not None
            if shutil.which("curl"):
                answer = subprocess.run(
                    ["sh", "-c", curl.group()], capture_output=True, text=True, check=True
                )
                assert '"assistant"' in answer.stdout
            out, err = process.communicate(timeout=60)
            assert (process.returncode, err) == (0, ""), out + err
    status = out
    assert "service support" in status
    assert "synthetic" in status
    assert re.search(r"Recorded answers .* r1 \d+, r2 \d+", status)
    assert "have stopped" in status
    assert stopped(home)
    assert not home.with_name("real").exists()


@pytest.mark.soak
def test_what_a_killed_demo_left_is_taken_up_then_stopped_and_revoked(tmp_path: Path) -> None:
    """After kill -9 node and load keep running; the next demo takes both over.

    It stops the load and leaves the node, which it did not start, and says how to stop it. SIGTERM
    ends the load and the node of the demo after that, which revokes the keys that the killed one
    left, and not a key that a person named demo-something.
    """
    home = tmp_path / "demo"
    with demo(home, 600) as killed:
        assert killed.stdout is not None
        until(killed.stdout, "curl ")
        paddock(home, "keys", "create", "--name", "demo-day")
        killed.send_signal(signal.SIGKILL)
        killed.wait(timeout=60)
        assert not stopped(home)
        with demo(home, 4) as second:
            out, err = second.communicate(timeout=60)
            assert (second.returncode, err) == (0, ""), out + err
            assert f"Stop it: PADDOCK_HOME={home} paddock stop" in out
            assert not stopped(home)
    assert len(working(home)) == 3
    with demo(home, 600) as third:
        assert third.stdout is not None
        until(third.stdout, "curl ")
        third.terminate()
        out, _ = third.communicate(timeout=60)
        assert "have stopped" in out
    assert stopped(home)
    assert working(home) == {"demo-day"}


def test_a_demo_touches_no_box_that_no_demo_made(tmp_path: Path) -> None:
    """Neither by --home nor by the environment: a sentence, and nothing is written."""
    home = tmp_path / "real"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("")
    environment = {**os.environ, "PADDOCK_DEMO_HOME": str(home)}
    for words, code, said in (
        (["demo", "--home", home], 1, "no demo made"),
        (["demo"], 1, "no demo made"),
        (["--home", home, "demo"], 2, "paddock demo --home DIR"),
    ):
        done = subprocess.run(
            [PADDOCK, *words], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr
    assert [path.name for path in home.iterdir()] == ["config.toml"]
