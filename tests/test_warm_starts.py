"""A process that is forked from a nursery is like one that was started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.warm_starts import MODULES, forking, popen
from tests.warm_starts.nursery import Nurseries, Nursery
from tests.warm_starts.request import Request

JOB: Final = [sys.executable, "-m", "engine.jobs", "--home"]
ASKED: Final = Request((*JOB, "x"), dict(os.environ), "/")
ROOM: Final = 4096

_AS_ANOTHER_USER: Final = """
import json, os, pathlib, sys
from tests.warm_starts import command_line
if os.getuid() == 0:
    os.setuid(65534)
line = command_line.CommandLine()
line.write(json.loads(sys.argv[1]))
print(line.room, repr(pathlib.Path("/proc/self/cmdline").read_bytes()))
"""


class Ends:
    """The two ends of nurseries that the tests play."""

    def __init__(self) -> None:
        self.open: list[socket.socket] = []

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """The end that asks, and the end that answers."""
        both = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.open.extend(both)
        return both

    def nursery(self, answer: bytes = b"", *, room: int = ROOM) -> Nursery:
        """A nursery with this answer."""
        near, far = self.pair()
        far.send(answer)
        return Nursery(near, room, far.close)

    def asked_once(self) -> tuple[socket.socket, socket.socket]:
        """A nursery that gets one request before its connection ends."""
        near, far = self.pair()
        socket.send_fds(near, [ASKED.encode()], [])
        near.shutdown(socket.SHUT_WR)
        return near, far


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Closed after the test."""
    made = Ends()
    yield made
    for each in made.open:
        each.close()


def test_a_warm_process_is_a_child_with_its_own_words_and_streams(tmp_path: Path) -> None:
    """Its exit code, what it wrote, its parent, its command line and its death by a signal."""
    with popen.warm():
        done = subprocess.run([*JOB, "x"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "the following arguments are required: --job" in done.stderr
        words = [sys.executable, "-m", "runbooks", "--home", str(tmp_path / "home")]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, start_new_session=True, cwd=tmp_path
        ) as runner:
            assert runner.stdout is not None
            assert b"beat" in runner.stdout.readline()
            process = psutil.Process(runner.pid)
            assert process.ppid() == os.getpid()
            assert process.cmdline() == words
            assert Path(process.cwd()) == tmp_path
            assert os.getsid(runner.pid) == runner.pid
            runner.kill()
    assert runner.returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("cold_starts")
def test_each_module_imports_what_it_needs(name: str) -> None:
    """In a nursery another module may have imported it before."""
    done = subprocess.run(
        [sys.executable, "-m", name, "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m {name}" in done.stdout


def test_a_command_line_is_exact_for_a_user_without_privileges() -> None:
    """It would end in thousands of empty words, and the last one names an instance."""
    words = ["python", "-m", "engine.serving", "--name", "m-1"]
    script = [sys.executable, "-c", _AS_ANOTHER_USER, json.dumps(words), "." * ROOM]
    shown = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    room, _, line = shown.strip().partition(" ")
    if room == "0":
        pytest.skip("this kernel does not let a process change its command line: it starts cold")
    assert line == repr(b"python\0-m\0engine.serving\0--name\0m-1\0")


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD"])
def test_what_changes_how_libraries_are_loaded_is_not_warm(
    name: str, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with other libraries than the nursery's imports its own, whatever holds now."""
    nursery = ends.nursery()
    assert nursery.suits(ASKED)
    monkeypatch.setenv(name, "/elsewhere")
    assert nursery.suits(ASKED)
    assert not nursery.suits(replace(ASKED, environment=dict(os.environ)))


def test_a_command_line_that_cannot_be_shown_is_not_warm(ends: Ends) -> None:
    """It is too long, or nothing can be shown here."""
    assert not ends.nursery().suits(replace(ASKED, words=(*JOB, "x" * ROOM)))
    assert not ends.nursery(room=0).suits(ASKED)


@pytest.mark.parametrize(
    "other",
    [
        {"close_fds": False},
        {"cwd": "/no/such/folder"},
        {"args": ["true"]},
        {"pass_fds": (0,)},
        {"start_new_session": True, "process_group": 0},
    ],
    ids=str,
)
def test_what_a_nursery_does_not_do_is_not_warm(other: dict[str, Any]) -> None:
    """Popen does it, or says why it cannot."""
    given = dict.fromkeys(popen.PARAMETERS) | {
        "args": [*JOB, "x"],
        "process_group": -1,
        "close_fds": True,
    }
    assert popen.is_ours(given)
    assert not popen.is_ours(given | other)


def test_after_a_nursery_that_failed_comes_another_and_then_cold_starts(ends: Ends) -> None:
    """One has died, the next can fork, and then it cannot."""
    near, far = ends.pair()
    far.close()
    able = ends.nursery(b"123")
    ends.open[-1].send(b"")
    starts = Nurseries(iter([Nursery(near, ROOM, far.close), able]))
    assert starts.start(ASKED, []) == 123
    assert starts.start(ASKED, []) is None
    assert starts.start(ASKED, []) is None


def test_a_fork_that_fails_is_reported(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process between a nursery and its child is killed before it writes the child's id."""
    near, far = ends.asked_once()
    killed = subprocess.Popen(["true"])
    monkeypatch.setattr(os, "fork", lambda: killed.pid)
    monkeypatch.setattr(forking, "TO_THE_GROUP", ())
    assert forking.births(far) is None
    assert near.recv(16) == b""
    assert killed.wait() == 0


def test_a_process_that_cannot_fork_exits_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its nursery notices the end."""

    def no_fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", no_fork)
    monkeypatch.setattr(os, "_exit", sys.exit)
    born, birth = os.pipe()
    with pytest.raises(SystemExit, match="1"):
        forking.fork_again(birth)
    os.close(birth)
    assert os.read(born, 1) == b""
    os.close(born)


def test_a_nursery_ignores_signals_to_its_group_and_its_children_do_not(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that drains after Ctrl-C may start a process, which hears the next signal at once."""
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(each) for each in both]
    heard: list[Any] = []

    class Forked(Exception):
        """Here a process would be two."""

    def forked(_: int) -> None:
        heard.extend(signal.getsignal(each) for each in both)
        raise Forked

    def fork() -> int:
        assert {signal.getsignal(each) for each in both} == {signal.SIG_IGN}
        return 0

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(forking, "fork_again", forked)
    with pytest.raises(Forked):
        forking.births(ends.asked_once()[1])
    assert heard == before
