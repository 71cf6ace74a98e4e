"""A process that is forked from a nursery is what it would be if it were started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import warm_starts

JOB = [sys.executable, "-m", "engine.jobs", "--home"]


def test_a_warm_process_is_a_child_with_its_own_words_and_streams(tmp_path: Path) -> None:
    """Its exit code, what it wrote, its parent, its command line and its death by a signal."""
    with warm_starts.warm():
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
            assert process.cmdline()[: len(words)] == words
            assert Path(process.cwd()) == tmp_path
            assert os.getsid(runner.pid) == runner.pid
            runner.kill()
    assert runner.returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD"])
def test_what_changes_how_libraries_are_loaded_is_not_warm(name: str) -> None:
    """A process with other libraries than the nursery's imports its own."""
    given = dict.fromkeys(warm_starts._PARAMETERS) | {"args": [*JOB, "x"], "process_group": -1}
    assert warm_starts._is_warm(given)
    assert not warm_starts._is_warm(given | {"env": {**os.environ, name: "/elsewhere"}})
