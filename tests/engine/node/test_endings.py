"""How the end of a process is described: what ended it, and why if that is known."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from engine.node import endings, process_logs


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "it exited with code 0"),
        (3, "it exited with code 3"),
        (-signal.SIGSEGV, "it was killed by SIGSEGV"),
        (-60, "it was killed by signal 60"),
    ],
)
def test_the_return_code_is_told_in_words(code: int, said: str) -> None:
    """Signals by their names."""
    assert endings.how(code) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("GGML_ASSERT(n > 0) failed", "GGML_ASSERT(n > 0) failed"),
        ('{"event": "cannot listen", "error": "port 80."}', "cannot listen: port 80"),
        ('{"event": "a step failed", "exception": "Traceback\\n  x\\nValueError: 7"}',
         "a step failed: ValueError: 7"),
        ("[1]", "[1]"),
    ],
)  # fmt: skip
def test_the_last_line_of_a_log_is_the_evidence(line: str, said: str, tmp_path: Path) -> None:
    """Of a line of the engine's own the event with its error."""
    log = tmp_path / "worker.log"
    log.write_text(f"earlier\n{line}\n")
    assert endings.evidence(1, log, 0, out_of_memory=False) == said


def test_what_an_earlier_process_logged_is_no_evidence(tmp_path: Path) -> None:
    """Even if the log was rotated since, where all of it counts."""
    log = tmp_path / "worker.log"
    log.write_text("received SIGTERM\n")
    begin = process_logs.end(log)
    silent = "it logged nothing in worker.log"
    assert endings.evidence(-signal.SIGSEGV, log, begin, out_of_memory=False) == silent
    log.write_text("rotated\n")
    assert endings.evidence(-signal.SIGSEGV, log, begin, out_of_memory=False) == "rotated"


def test_a_kill_from_outside_is_explained_by_memory_alone(tmp_path: Path) -> None:
    """What it logged last has nothing to do with it."""
    log = tmp_path / "worker.log"
    log.write_text("all is well\n")
    assert endings.evidence(-signal.SIGKILL, log, 0, out_of_memory=False) == ""
    said = endings.evidence(-signal.SIGKILL, log, 0, out_of_memory=True)
    assert said == "the kernel was out of memory"


def test_the_kernel_counts_what_it_kills_for_memory(tmp_path: Path) -> None:
    """Only what came since the last look is new."""
    counter = tmp_path / "memory.events"
    counter.write_text("oom 4\noom_kill 2\noom_group_kill 0\n")
    kills = endings.MemoryKills(counter)
    assert not kills.look()
    counter.write_text("oom 5\noom_kill 3\noom_group_kill 0\n")
    assert kills.look()
    assert not kills.look()
    counter.unlink()
    assert not kills.look()


def test_this_kernel_has_such_a_counter() -> None:
    """Of the control group, or of the machine."""
    assert "oom_kill " in endings._counter().read_text()
