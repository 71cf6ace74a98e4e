"""What the box is made of, and what each part of it does now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU now; what the card does not report is None."""

    index: int
    name: str
    utilisation: float | None  # of one
    memory_used: int
    memory_total: int
    power_mw: int | None
    power_limit_mw: int | None
    temperature_c: int | None
    throttle: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine now; `cpu` is a share of all cores."""

    cpu: float
    cores: int
    memory_used: int
    memory_total: int
    disk_used: int
    disk_total: int
    load1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the box is made of; `driver` says whether the kernel has one for GPUs."""

    host: Host | None = None
    gpus: tuple[Gpu, ...] = ()
    driver: bool = False
