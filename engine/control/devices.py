"""The GPUs and the memory of the box, as the latest samples have them.

Asks no driver, so that it may be called inside a transaction. Imported by
`engine.control.deployments` and `releases`.
"""

from __future__ import annotations

from typing import Final

from engine.node.placement import Device
from storage import samples
from storage.samples import HostSample, Kind
from storage.store import Session

FRESH_S: Final = 15
"""Samples that are older say nothing about now."""


async def gpus(s: Session, at_us: int) -> list[Device] | None:
    """The GPUs with their free memory; None without a recent sample."""
    if await host(s, at_us) is None:
        return None
    second = at_us // 1_000_000
    found = await samples.since(s, second - FRESH_S, Kind.GPU, second)
    latest = {sample.index: sample for _, _, sample in found}
    return [
        Device(index, sample.memory_total - sample.memory_used)
        for index, sample in sorted(latest.items())
    ]


async def host(s: Session, at_us: int) -> HostSample | None:
    """The machine; None without a recent sample."""
    second = at_us // 1_000_000
    found = await samples.since(s, second - FRESH_S, Kind.HOST, second)
    return found[-1][2] if found else None
