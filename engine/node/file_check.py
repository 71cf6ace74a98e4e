"""Whether a model file is still the one that was registered.

Size and modification time are compared first; only if they differ is the file read again. Never
writes. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from engine.node.planning import Weights


async def changed(weights: Weights) -> str | None:
    """Why loading the file would not load what was registered; None if it would.

    A file that does not exist is reported by the weights.
    """
    path = Path(weights.path)
    try:
        now = await asyncio.to_thread(path.stat)
        if (now.st_size, now.st_mtime_ns) == (weights.size_bytes, weights.mtime_ns):
            return None
        found = await asyncio.to_thread(_hash, path)
    except OSError:
        return None
    if found == weights.sha256:
        return None
    return (
        f"{path} is not the file that was registered: its SHA-256 is {found[:16]}…, "
        f"not {weights.sha256[:16]}…; add it as a new version"
    )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
