"""Samples the host: CPU, memory, and the disk of the data directory.

Reads the kernel's counters through psutil. Imported by `engine.control`.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from storage.samples import HostSample


class Host:
    """Samples the host; CPU use is that since the previous sample."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._cores = os.cpu_count() or 1
        psutil.cpu_percent(interval=None)  # the first call only starts the interval

    def sample(self) -> HostSample:
        """The current sample. `cpu_percent` is over all cores, 0 to 100."""
        memory = psutil.virtual_memory()
        disk = os.statvfs(self._home)
        return HostSample(
            cpu_percent=psutil.cpu_percent(interval=None),
            cores=self._cores,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            disk_used=(disk.f_blocks - disk.f_bavail) * disk.f_frsize,
            disk_total=disk.f_blocks * disk.f_frsize,
            load1=os.getloadavg()[0],
        )
