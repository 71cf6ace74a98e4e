"""The cards of the box in full, and the machine around them."""

from __future__ import annotations

from dataclasses import dataclass

from app.snapshot.machine import Gpu, Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process on a card; `name` is that of a process of the node, empty for another's."""

    pid: int
    name: str
    memory: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCard:
    """One card now; what it does not report is None.

    `xids` are the driver's errors of the last quarter of an hour with the time of each, newest
    first. `peak` and `lowest` are of the utilisation in that time, of one.
    """

    gpu: Gpu
    clock_mhz: int | None
    clock_max_mhz: int | None
    memory_clock_mhz: int | None
    ecc_uncorrected: int | None
    xids: tuple[tuple[int, int], ...] | None
    processes: tuple[GpuProcess, ...] | None
    lowest: float | None
    peak: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """All cards, one for each GPU of the machine."""

    cards: tuple[GpuCard, ...]
    machine: Machine
