"""Chooses the GPUs of an instance: those that its settings name, or the freest that fit it. Pure.

Devices are numbered as the driver (NVML) numbers them, in PCI order. Never asks a driver and never
starts anything. Imported by `engine.node.instances` and `engine.control`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

MARGIN_BYTES: Final = 512 * 1024 * 1024
"""What a GPU context takes before any weights; left free on each device that is used."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU with the memory that is free on it."""

    index: int
    free_bytes: int


class NotThere(Exception):
    """A device that the settings name does not exist; the message lists those that do."""


def place(
    named: tuple[int, ...] | None,
    *,
    devices: Sequence[Device],
    size_bytes: int,
    split: bool,
    reserved: Mapping[int, int] = MappingProxyType({}),
) -> tuple[int, ...]:
    """The indices of the devices to use, in order; empty on a machine without GPUs.

    `size_bytes` is the size of the weights; `split` allows several devices. `reserved` is what
    instances that are still loading will take, by device. If the weights fit on no choice of
    devices, the freest is used, or all with a split: the load itself then says what is missing.

    Raises:
        NotThere: a named device does not exist.
    """
    if named is not None:
        check(named, devices)
        return named
    free = {each.index: each.free_bytes - reserved.get(each.index, 0) for each in devices}
    freest = sorted(free, key=lambda index: (-free[index], index))
    if not split:
        return tuple(freest[:1])
    held = 0
    for count, index in enumerate(freest, start=1):
        held += max(0, free[index] - MARGIN_BYTES)
        if held >= size_bytes:
            return tuple(sorted(freest[:count]))
    return tuple(sorted(freest))


def check(named: Sequence[int], devices: Sequence[Device]) -> None:
    """Prove that the named devices exist.

    Raises:
        NotThere: one does not; the message lists those that do.
    """
    present = sorted(each.index for each in devices)
    missing = [index for index in named if index not in present]
    if missing:
        known = ", ".join(map(str, present))
        raise NotThere(
            f"there is no GPU {', '.join(map(str, missing))}; "
            + (f"present: {known}" if known else "this machine has none")
        )


def visible(devices: Sequence[Device], restriction: str | None) -> list[Device] | None:
    """The devices that the node's own CUDA_VISIBLE_DEVICES leaves to it.

    None where it names devices by UUID: it is then passed on as it is.
    """
    if restriction is None:
        return list(devices)
    words = [word.strip() for word in restriction.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        return None
    allowed = {int(word) for word in words}
    return [each for each in devices if each.index in allowed]


def environment(devices: tuple[int, ...]) -> dict[str, str]:
    """The variables that confine a process to these devices; empty for none."""
    if not devices:
        return {}
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML numbers them
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, devices)),
    }
