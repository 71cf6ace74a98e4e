"""The working files of jobs: a directory for each, removed when its job ends.

It is on the file system of the models, so that a finished file is not copied. A job that waits for
another attempt keeps it, and one that failed too often keeps it for a day, as it may be retried.
Imported by `engine.jobs` and `engine.node`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from storage.home.paths import Home

KEEP_US: Final = 86_400_000_000
"""How long the working files of a job that failed too often are kept."""


def directory(home: Home, job: int) -> Path:
    """The directory of a job, which may not exist."""
    return _all(home) / f"job-{job}"


def make(home: Home, job: int) -> Path:
    """Create the directory of a job, with mode 0700."""
    made = directory(home, job)
    made.mkdir(mode=0o700, parents=True, exist_ok=True)
    return made


def remove(home: Home, job: int) -> None:
    """Remove a job's working files, if there are any. Blocks."""
    shutil.rmtree(directory(home, job), ignore_errors=True)


def sweep(home: Home, keep: Collection[int]) -> list[str]:
    """Remove the working files of all jobs except those in `keep`; their names. Blocks."""
    kept = {directory(home, job).name for job in keep}
    found = [path for path in _all(home).glob("job-*") if path.name not in kept]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in found)


def _all(home: Home) -> Path:
    return home.models / ".partial"
