"""Logging of the engine's processes: one JSON object per line; a full disk loses lines only.

`configure()` once in main; then `structlog.get_logger("control").info("event", key=value)`.
Prompts, answers and keys are never logged. Imported by every process of the engine.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO

import structlog


class _Lines:
    """Writes lines and ignores errors."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line; a full disk or a closed reader is ignored."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


def configure(stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream`, standard error by default."""
    out = _Lines(stream or sys.stderr)

    def factory(*_: Any) -> _Lines:
        return out

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
