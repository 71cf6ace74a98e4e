"""Figures of the machine in a window: its GPUs, memory and disk, each defined once.

As in `storage.measures`, a figure is None without data. Imported by every package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from storage import samples
from storage.measures import Window
from storage.samples import GpuSample, HostSample, Kind


async def gpus(s: AsyncSession, window: Window) -> list[GpuSample]:
    """The samples of all GPUs in a window, oldest first."""
    return [each for _, _, each in await samples.since(s, window.begin, Kind.GPU, window.end)]


async def host(s: AsyncSession, window: Window) -> HostSample | None:
    """The newest sample of the host in a window."""
    found = await samples.since(s, window.begin, Kind.HOST, window.end)
    return found[-1][2] if found else None


def gpu_utilisation(rows: Iterable[GpuSample]) -> float | None:
    """Mean utilisation of the GPUs that report it, 0 to 1."""
    known = [r.utilisation_percent for r in rows if r.utilisation_percent is not None]
    return sum(known) / len(known) / 100 if known else None


def gpu_temperature(rows: Iterable[GpuSample]) -> float | None:
    """The highest temperature of a GPU, in °C."""
    return _highest(rows, lambda r: r.temperature_c)


def gpu_memory(rows: Iterable[GpuSample]) -> float | None:
    """The highest share of its memory that a GPU used, 0 to 1."""
    return _highest(rows, lambda r: r.memory_used / r.memory_total if r.memory_total else None)


def gpus_throttled(rows: Iterable[GpuSample]) -> int | None:
    """How many GPUs were throttled, for whatever reason."""
    known = list(rows)
    return len({r.index for r in known if r.throttle}) if known else None


def gpus_measured(rows: Iterable[GpuSample]) -> int:
    """How many GPUs answered."""
    return len({r.index for r in rows})


def disk_used(row: HostSample | None) -> float | None:
    """The share of the data directory's disk that is used, 0 to 1."""
    return row.disk_used / row.disk_total if row is not None and row.disk_total else None


def memory_used(row: HostSample | None) -> float | None:
    """The share of the machine's memory that is used, 0 to 1."""
    return row.memory_used / row.memory_total if row is not None and row.memory_total else None


def _highest(
    rows: Iterable[GpuSample], figure: Callable[[GpuSample], float | None]
) -> float | None:
    return max((value for row in rows if (value := figure(row)) is not None), default=None)
