"""Whether a download leaves the store and the logs enough disk space.

Asked before a download begins and while it runs, as others write to the disk too. Imported by
`engine.jobs` and `engine.registry`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine.registry.server_responses import Refused

RESERVE: Final = 1_000_000_000
"""Bytes of disk space that a download does not use, for the store and the logs."""


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk of a directory."""
    return shutil.disk_usage(path).free


def need(
    directory: Path, what: str, more: int, free_bytes: Callable[[Path], int] = free_bytes
) -> None:
    """Refuse `more` bytes in a directory if they would not leave the reserve on its disk.

    Raises:
        Refused: the disk is too full.
    """
    free = free_bytes(directory)
    if free - more < RESERVE:
        raise Refused(
            f"Not enough disk space for {what}: it needs {more / 1e9:.1f} GB and "
            f"{RESERVE / 1e9:.0f} GB must remain free, but {directory.parent} has "
            f"{free / 1e9:.1f} GB."
        )
