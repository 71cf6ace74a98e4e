"""The logs of supervised processes: kept small while they are written, and read for evidence.

A log is rotated by copying it and truncating it in place: its writer has it open for appending and
continues at the new end. Lines written between copy and truncation are lost, and of a log that has
grown far beyond its limit only the end is copied. Imported by `engine.node`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

LIMIT: Final = 16 * 1024 * 1024
KEPT_S: Final = 30 * 86_400
"""How long the log of an instance is kept that nothing writes to."""
_TAIL: Final = 8192
_LINE: Final = 200
_MEMORY: Final = re.compile(r"out of memory|bad_alloc|failed to allocate", re.IGNORECASE)
_MEMORY_LINES: Final = 40
"""libllama writes a backtrace after the line that says why it aborts."""


def trim(logs: Iterable[Path]) -> None:
    """Rotate the logs that are over the limit. Blocks."""
    for log in logs:
        with contextlib.suppress(OSError):
            size = log.stat().st_size
            if size <= LIMIT:
                continue
            with contextlib.suppress(OSError):  # a full disk may cost a log, never its bound
                _copy(log, log.with_suffix(".log.1"), begin=size - LIMIT)
            os.truncate(log, 0)


def _copy(log: Path, to: Path, *, begin: int) -> None:
    with log.open("rb") as lines, to.open("wb") as kept:
        lines.seek(begin)
        kept.write(lines.read(LIMIT))


def sweep(folder: Path, now_s: float) -> list[str]:
    """Remove the logs of instances that have not been written for a month; their names. Blocks.

    For the node's start, when no instance runs: an open log that is removed is written in vain.
    """
    gone = []
    for log in [*folder.glob("worker-*.log*"), *folder.glob("server-*.log*")]:
        with contextlib.suppress(OSError):
            if now_s - log.stat().st_mtime >= KEPT_S:
                log.unlink()
                gone.append(log.name)
    return sorted(gone)


def tells_of_memory(log: Path) -> bool:
    """Whether its last lines say that memory was short, on the machine or on a device."""
    return any(_MEMORY.search(line) for line in last_lines(log, _MEMORY_LINES))


def end(log: Path) -> int:
    """The size of a log, which is the offset at which the next process begins."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def last_lines(log: Path, count: int, since: int = 0) -> tuple[str, ...]:
    """The last lines that are not blank, shortened to 200 characters; empty without a log.

    Only what was written from the byte `since` on, unless the log was rotated meanwhile.
    """
    if not log.is_file():  # opening a FIFO would hang
        return ()
    try:
        with log.open("rb") as file:
            whole = file.seek(0, os.SEEK_END)
            file.seek(max(0, whole - _TAIL, since if since <= whole else 0))
            tail = file.read().decode(errors="replace")
    except OSError:
        return ()
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return tuple(line if len(line) <= _LINE else f"{line[:_LINE]}…" for line in lines[-count:])
