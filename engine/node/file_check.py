"""Whether a model's file is still the one that was registered.

Size and time of change are looked at first; only where they differ is the file read again. Never
writes. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from engine.node.placement import Worker


async def changed(worker: Worker) -> str | None:
    """Why the worker would not load what was registered, None when it would.

    A file that is not there is the worker's own to tell.
    """
    path = Path(worker.path)
    try:
        now = await asyncio.to_thread(path.stat)
        if (now.st_size, now.st_mtime_ns) == (worker.size_bytes, worker.mtime_ns):
            return None
        found = await asyncio.to_thread(_hash, path)
    except OSError:
        return None
    if found == worker.sha256:
        return None
    return (
        f"{path} is not the file that was registered: its SHA-256 is {found[:16]}…, "
        f"not {worker.sha256[:16]}…; add it as a new version"
    )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
