"""What the box itself used, by quarter hour: device time, and the energy of its GPUs.

A row is made anew from the samples of its seconds, so it may be made again at any time while they
are kept. Device time counts every GPU, or the box itself where there is none, for each second in
which it was measured. Energy is split, second by second, by how busy the devices were; what was not
used is idle. Written by control, read by every package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import rollup_rows, rollups, samples
from storage.prices import QUARTER_S
from storage.samples import GpuSample, InstanceSample, Kind
from storage.store import upsert

_GAP_S: Final = 10
"""Between two samples of a GPU; over a longer gap its energy is not known."""
_COVERED_S: Final = 8
_SECOND_US: Final = 1_000_000
_LAST: Final = 4  # quarter hours made at a time


class BoxUsageRow(SQLModel, table=True):
    """What the box used, as it is stored."""

    __tablename__: ClassVar[str] = "box_usage"

    quarter_s: int = Field(primary_key=True)
    devices: int
    device_us: int
    work_mj: int | None
    idle_mj: int | None


class BoxUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A quarter hour: time of `devices` GPUs (or of the box), energy in millijoules.

    Energy is None where it was not measured: no GPU, or none that reports power.
    """

    quarter_s: int
    devices: int
    device_us: int
    work_mj: int | None = None
    idle_mj: int | None = None


def of(
    quarter_s: int,
    hosts: Iterable[int],
    gpus: Sequence[tuple[int, GpuSample]],
    instances: Sequence[tuple[int, InstanceSample]],
) -> BoxUsage | None:
    """One quarter hour of samples with their seconds; None where nothing was measured.

    Samples of the seconds before it give the first of its differences.
    """
    end = quarter_s + QUARTER_S
    busy: dict[int, float] = {}
    for at, row in instances:
        covered = _covered(row)
        for second in range(at - covered + 1, at + 1):
            busy[second] = busy.get(second, 0.0) + (row.busy_us or 0) / covered
    seconds = {at for at in (*hosts, *busy) if quarter_s <= at < end}
    if not seconds:
        return None
    devices = max(len({gpu.index for at, gpu in gpus if quarter_s <= at < end}), 1)
    energy = _energy(quarter_s, end, gpus, busy, devices)
    return BoxUsage(
        quarter_s=quarter_s,
        devices=devices,
        device_us=len(seconds) * devices * _SECOND_US,
        work_mj=None if energy is None else round(energy[0]),
        idle_mj=None if energy is None else round(sum(energy)) - round(energy[0]),
    )


def _covered(row: InstanceSample) -> int:
    whole = round(((row.busy_us or 0) + (row.idle_us or 0)) / _SECOND_US)
    return min(max(whole, 1), _COVERED_S)


def _energy(
    begin: int,
    end: int,
    gpus: Sequence[tuple[int, GpuSample]],
    busy: Mapping[int, float],
    devices: int,
) -> tuple[float, float] | None:
    """(work, idle) in millijoules; None where no GPU tells."""
    work = idle = 0.0
    told = False
    last: dict[int, tuple[int, GpuSample]] = {}
    for at, gpu in sorted(gpus, key=lambda each: each[0]):
        before = last.get(gpu.index)
        last[gpu.index] = at, gpu
        if before is None or not begin <= at < end or at - before[0] > _GAP_S:
            continue
        spent = used(before[1], gpu, at - before[0])
        if spent is None:
            continue
        told = True
        share = min(busy.get(at, 0.0) / (devices * _SECOND_US), 1.0)
        work += spent * share
        idle += spent * (1 - share)
    return (work, idle) if told else None


def used(before: GpuSample, now: GpuSample, seconds: int) -> float | None:
    """Millijoules between two samples: by the card's counter, else by its power."""
    if before.energy_mj is not None and now.energy_mj is not None:
        grown = now.energy_mj - before.energy_mj
        if grown >= 0:  # else the driver was loaded again
            return float(grown)
    return None if now.power_mw is None else float(now.power_mw * seconds)


async def measure(s: AsyncSession, now_s: int, quarters: int = _LAST) -> bool:
    """Make the rows of what was measured since the last call; whether there is more to make.

    Those of the last quarter hour that has one are made again. After the clock was set back, those
    from then on are.
    """
    newest = (await s.execute(select(func.max(col(BoxUsageRow.quarter_s))))).scalar()
    kept = (await rollups.mark(s)).seconds_from_s
    since = min(newest or 0, now_s) // QUARTER_S * QUARTER_S
    at = max(since, -(-kept // QUARTER_S) * QUARTER_S)
    rows = []
    for _ in range(quarters):
        first = await rollup_rows.next_second(s, Kind.HOST, at)
        if first is None or first > now_s:
            break
        at = first // QUARTER_S * QUARTER_S
        found = await _read(s, at)
        if found is not None:
            rows.append(msgspec.structs.asdict(found))
        at += QUARTER_S
    await upsert(s, BoxUsageRow, rows, key=("quarter_s",))
    return len(rows) == quarters


async def between(s: AsyncSession, begin_s: int, end_s: int) -> list[BoxUsage]:
    """The quarter hours that begin in a range, `end_s` excluded, in their order."""
    query = (
        select(BoxUsageRow)
        .where(col(BoxUsageRow.quarter_s) >= begin_s, col(BoxUsageRow.quarter_s) < end_s)
        .order_by(col(BoxUsageRow.quarter_s))
        .execution_options(populate_existing=True)
    )
    return [msgspec.convert(row, BoxUsage, from_attributes=True) for row in await s.scalars(query)]


async def prune(s: AsyncSession, before_s: int) -> int:
    """Delete the rows before a moment; returns how many."""
    gone = await s.execute(delete(BoxUsageRow).where(col(BoxUsageRow.quarter_s) < before_s))
    return int(gone.rowcount)  # type: ignore[attr-defined]


async def _read(s: AsyncSession, quarter_s: int) -> BoxUsage | None:
    end = quarter_s + QUARTER_S - 1
    hosts = await samples.seconds(s, Kind.HOST, quarter_s, end)
    gpus = await samples.since(s, quarter_s - _GAP_S, Kind.GPU, end)
    instances = await samples.since(s, quarter_s, Kind.INSTANCE, end + _COVERED_S)
    return of(
        quarter_s,
        hosts,
        [(at, gpu) for at, _, gpu in gpus],
        [(at, row) for at, _, row in instances if row.busy_us is not None],
    )
