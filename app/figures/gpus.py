"""The cards of the box in full: those of the pulse, and what only this place has room for. Pure.

Imported by `app.figures.reading`.
"""

from __future__ import annotations

from collections.abc import Mapping

from app import snapshot
from app.figures import machine
from app.figures.facts import SECOND_US, Facts
from app.snapshot.gpus import GpuCard, GpuProcess, Gpus
from storage.samples import GpuSample


def gpus(facts: Facts) -> Gpus:
    """All cards that were measured in the last seconds."""
    seen = machine.machine(facts)
    names = {each.pid: each.name for each in facts.processes if each.pid is not None}
    return Gpus(
        cards=tuple(_card(gpu, facts.recent.gpus[gpu.index], names) for gpu in seen.gpus),
        machine=seen,
    )


def _card(gpu: snapshot.Gpu, rows: Mapping[int, GpuSample], names: Mapping[int, str]) -> GpuCard:
    last = rows[max(rows)]
    reported = [(at, row.xids) for at, row in sorted(rows.items()) if row.xids is not None]
    xids = [(at * SECOND_US, xid) for at, found in reported for xid in found]
    used = [
        row.utilisation_percent / 100
        for row in rows.values()
        if row.utilisation_percent is not None
    ]
    return GpuCard(
        gpu=gpu,
        clock_mhz=last.clock_mhz,
        clock_max_mhz=last.clock_max_mhz,
        memory_clock_mhz=last.memory_clock_mhz,
        ecc_uncorrected=last.ecc_uncorrected,
        xids=tuple(reversed(xids)) if reported else None,
        processes=None
        if last.processes is None
        else tuple(
            GpuProcess(pid=each.pid, name=names.get(each.pid, ""), memory=each.memory)
            for each in last.processes
        ),
        lowest=min(used, default=None),
        peak=max(used, default=None),
    )
