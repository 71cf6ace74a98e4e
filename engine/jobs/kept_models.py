"""Downloaded model files that were verified: `models/<SHA-256>/<name>`, kept once for each content.

A file is put there in the transaction that registers its version. A crash before the commit leaves
a file that no version refers to: another attempt uses it or replaces it, and otherwise it is swept
after a week, as are the files that a restored store does not name.
Imported by `engine.jobs` and `engine.node`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from storage.home import unused
from storage.home.paths import Home

KEPT_S: Final = 7 * 86_400
"""How long a file is kept that no version refers to."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def path(home: Home, sha256: str, file_name: str) -> Path:
    """Where a file with this content is kept."""
    return home.models / sha256 / file_name


def unchanged(kept: Path, size_bytes: int, mtime_ns: int) -> bool:
    """Whether a kept file still has this size and modification time."""
    try:
        now = kept.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (size_bytes, mtime_ns)


def keep(part: Path, kept: Path) -> None:
    """Put a verified file in its place atomically, replacing an existing one.

    `part` stays, so that this can be repeated; on a file system without hard links it is moved.
    """
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = part.with_suffix(".keep")
    fresh.unlink(missing_ok=True)
    try:
        os.link(part, fresh)
    except FileNotFoundError:
        if kept.exists():  # it was moved before
            return
        raise
    except OSError:
        part.replace(kept)
    else:
        fresh.replace(kept)


def sweep(home: Home, referred: Collection[str], *, now_s: float) -> list[str]:
    """Remove the files whose SHA-256 has not been in `referred` for a week; the hashes. Blocks.

    Call it only while no job runs that could be keeping a file.
    """
    found = [
        directory.name
        for directory in home.models.glob("*")
        if _SHA256.fullmatch(directory.name) and directory.name not in referred
    ]
    gone = unused.since(home.models, found, now_s=now_s, kept_s=KEPT_S)
    for name in gone:
        shutil.rmtree(home.models / name, ignore_errors=True)
    return gone
