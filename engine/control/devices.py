"""The GPUs and the memory of the box: by the latest samples, or asked now where there are none.

A decision is never made without them, so that nothing is loaded blindly while samples are missing,
as just after a start. Imported by `engine.control`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import psutil

from engine.metering import gpu
from engine.node.placement import Device
from storage import samples
from storage.samples import HostSample, Kind
from storage.store import Session

FRESH_S: Final = 15
"""The age at which samples are stale."""
DRIVER_S: Final = 0.5
"""How long to wait for a driver that may hang: the store's transaction is open meanwhile."""


@dataclass(frozen=True, slots=True)
class Ram:
    """The memory of the machine, in bytes."""

    total_bytes: int
    used_bytes: int

    @property
    def free_bytes(self) -> int:
        """Unused memory."""
        return self.total_bytes - self.used_bytes


def ram_now() -> Ram:
    """The memory as the kernel counts it now; reads one file."""
    found = psutil.virtual_memory()
    return Ram(found.total, found.total - found.available)


async def ram(s: Session, at_us: int) -> Ram:
    """The memory of the machine, as the latest sample has it, or as it is now."""
    sample = await _host(s, at_us)
    return ram_now() if sample is None else Ram(sample.memory_total, sample.memory_used)


async def gpus(s: Session, at_us: int) -> list[Device] | None:
    """The GPUs with their free memory; None if their driver does not answer."""
    if await _host(s, at_us) is None:
        return await _asked()
    second = at_us // 1_000_000
    found = await samples.since(s, second - FRESH_S, Kind.GPU, second)
    latest = {sample.index: sample for _, _, sample in found}
    return [
        Device(index, sample.memory_total - sample.memory_used)
        for index, sample in sorted(latest.items())
    ]


def gpus_now() -> list[Device]:
    """The GPUs as the driver has them now, none without a driver; may block."""
    return [Device(index, free) for index, free in gpu.free_bytes()]


async def _asked() -> list[Device] | None:
    await asyncio.to_thread(gpu.library)  # the bound is the driver's, not that of an import
    asking = asyncio.create_task(asyncio.to_thread(gpus_now))
    done, _ = await asyncio.wait({asking}, timeout=DRIVER_S)
    return asking.result() if done else None


async def _host(s: Session, at_us: int) -> HostSample | None:
    """The latest sample of the machine; None without a recent one."""
    second = at_us // 1_000_000
    found = await samples.since(s, second - FRESH_S, Kind.HOST, second)
    return found[-1][2] if found else None
