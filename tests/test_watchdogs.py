"""A killed test run leaves no node behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil

from tests.engine.node.nodes import BOUND_S

_RUN: Final = """
import pathlib, signal, sys
from tests.engine.node.nodes import RealNode
node = RealNode(pathlib.Path(sys.argv[1]))
node.start()
print(node.pid, flush=True)
signal.pause()
"""


def test_a_node_ends_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    """With everything that it has started; SIGKILL runs no clean-up of the test."""
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, str(tmp_path / "home")], stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        node = psutil.Process(int(run.stdout.readline()))
        left = [node, *node.children(recursive=True)]
        run.kill()
    _, alive = psutil.wait_procs(left, timeout=BOUND_S)
    assert len(left) > 1
    assert alive == []
