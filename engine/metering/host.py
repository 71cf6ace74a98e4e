"""The machine in figures: processor, memory, the disk that holds the home.

Reads the kernel's counters by psutil and nothing else. Imported by `engine.control`.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from storage.samples import HostSample


class Host:
    """Samples the machine; a processor share is of the time since the sample before."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._cores = os.cpu_count() or 1
        psutil.cpu_percent(interval=None)  # the first call has no time to speak of

    def sample(self) -> HostSample:
        """The machine now. `cpu_percent` is of all cores together, 0 to 100."""
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
