"""Logs stay small whatever their processes write."""

from __future__ import annotations

import os
from pathlib import Path

from engine.node import process_logs


def test_of_a_log_that_has_grown_too_fast_only_the_end_is_kept(tmp_path: Path) -> None:
    """A server may write gigabytes between two looks; a copy of it all could fill the disk."""
    log = tmp_path / "server.log"
    log.touch()
    os.truncate(log, 5 * process_logs.LIMIT)
    with log.open("ab") as writer:
        writer.write(b"the last words\n")
    process_logs.trim([log])
    kept = log.with_suffix(".log.1")
    assert (log.stat().st_size, kept.stat().st_size) == (0, process_logs.LIMIT)
    assert kept.read_bytes().endswith(b"the last words\n")
