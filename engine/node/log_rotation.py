"""The logs of the parts stay small while the parts live.

Copied aside and cut where they lie: who writes to a log has it open for appending and goes on at
its new beginning. What is said between copy and cut is lost. Imported by `engine.node`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

LIMIT: Final = 16 * 1024 * 1024


def trim(logs: Iterable[Path]) -> None:
    """Cut those that are over the limit; the last of what they held is kept beside. Blocks."""
    for log in logs:
        with contextlib.suppress(OSError):
            if log.stat().st_size <= LIMIT:
                continue
            with contextlib.suppress(OSError):  # a full disk may cost a log, never its bound
                shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
