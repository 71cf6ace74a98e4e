"""Files that no record refers to: since when, and which have been so for long enough.

An empty file beside each, `NAME.unused`, keeps the time of the sweep that found it first. So what a
restored store does not name is not lost at once: a store that names it again makes it used again.
Standard library only. Imported by the sweeps of secrets and of model files.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

_MARK: Final = ".unused"


def since(folder: Path, names: Collection[str], *, now_s: float, kept_s: float) -> list[str]:
    """Of `names`, all the unused ones in a folder: those that have been so for `kept_s`.

    Raises:
        OSError: the folder cannot be read or written.
    """
    for mark in folder.glob(f"*{_MARK}"):
        if mark.stem not in names:
            mark.unlink(missing_ok=True)
    return sorted(name for name in names if now_s - _since_s(folder / name, now_s) >= kept_s)


def _since_s(path: Path, now_s: float) -> float:
    mark = path.with_name(f"{path.name}{_MARK}")
    try:
        return mark.stat().st_mtime
    except FileNotFoundError:
        mark.touch(mode=0o600)
        os.utime(mark, (now_s, now_s))
        return now_s
