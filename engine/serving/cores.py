"""How many processors this process may use: its affinity, bounded by the CPU quota of its cgroup.

With more threads than the quota allows, the kernel stops all of them for most of every period.
Imported by the worker's entry.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def cores(root: Path = Path("/")) -> int:
    """At least 1; a fraction of a processor is rounded down."""
    affinity = len(os.sched_getaffinity(0))
    return max(1, min([affinity, *map(int, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The limits, in processors, of this process's cgroup and its ancestors (cgroup v2 and v1)."""
    mount = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _limits(mount, path)
            elif "cpu" in controllers.split(","):
                yield from _limits(mount / controllers, path)
                yield from _limits(mount / "cpu", path)


def _limits(mount: Path, path: str) -> Iterator[float]:
    group = mount / path.strip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(mount):
            return
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)  # "max": a ValueError, no limit
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota = (folder / "cpu.cfs_quota_us").read_text()
            if int(quota) > 0:  # -1: no limit
                yield int(quota) / int((folder / "cpu.cfs_period_us").read_text())
