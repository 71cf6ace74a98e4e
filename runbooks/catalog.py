"""The runbooks of a box: the shipped ones, and those in its data directory, which replace them.

Reads files only and runs nothing. Imported by the runner's start and by `app`.
"""

from __future__ import annotations

import functools
from pathlib import Path

from runbooks import parsing
from runbooks.probes import PROBES
from runbooks.steps import Runbook
from storage.control_socket import verbs
from storage.home import access
from storage.home.paths import Home


def every(home: Home) -> dict[str, Runbook | str]:
    """All runbooks by name; one that cannot be used is the sentence that says why.

    Raises:
        Closed: this user may not look into the home.
    """
    access.require(home)
    found: dict[str, Runbook | str] = {}
    for folder in (parsing.LIBRARY, own(home)):
        for path in sorted(folder.glob("*.yaml")):
            at = path.stat()
            found[path.stem] = _read(path, at.st_mtime_ns, at.st_size, at.st_ino)
    return found


@functools.lru_cache(maxsize=256)
def _read(path: Path, *_version: int) -> Runbook | str:
    """One runbook, read again only where its file changed."""
    try:
        return parsing.read(path, probes=PROBES, verbs=verbs.TABLE)
    except parsing.BadRunbook as error:
        return str(error)


def faults(home: Home, file: Path | None = None) -> dict[str, list[str]]:
    """All that is wrong with a file, or with each runbook of the box, by name.

    Raises:
        Closed: this user may not look into the home.
    """
    if file is not None:
        return {file.stem: parsing.check(file, probes=PROBES, verbs=verbs.TABLE)[1]}
    access.require(home)
    paths = [*sorted(parsing.LIBRARY.glob("*.yaml")), *sorted(own(home).glob("*.yaml"))]
    return {path.stem: parsing.check(path, probes=PROBES, verbs=verbs.TABLE)[1] for path in paths}


def own(home: Home) -> Path:
    """Where operators keep runbooks of this box."""
    return home.root / "runbooks"
