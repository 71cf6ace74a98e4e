"""The machine and its GPUs now."""

from __future__ import annotations

from collections.abc import Sequence

from app import snapshot
from app.figures import load
from app.figures.facts import Facts
from app.recent_samples import NOW_S
from storage import samples


def machine(facts: Facts) -> snapshot.Machine:
    """The machine now; nothing while the node is down."""
    end = facts.end
    if facts.node is snapshot.Node.DOWN:
        return snapshot.Machine(driver=facts.driver)
    hosts = [row for at, row in sorted(facts.recent.hosts.items()) if end - NOW_S < at <= end]
    gpus = []
    for index, rows in sorted(facts.recent.gpus.items()):
        last = [row for at, row in sorted(rows.items()) if end - NOW_S < at <= end]
        if last:
            gpus.append(_gpu(index, last))
    return snapshot.Machine(
        host=_host(hosts) if hosts else None, gpus=tuple(gpus), driver=facts.driver
    )


def _host(rows: Sequence[samples.HostSample]) -> snapshot.Host:
    last = rows[-1]
    return snapshot.Host(
        cpu=sum(row.cpu_percent for row in rows) / len(rows) / 100,
        cores=last.cores,
        memory_used=last.memory_used,
        memory_total=last.memory_total,
        disk_used=last.disk_used,
        disk_total=last.disk_total,
        load1=last.load1,
    )


def _gpu(index: int, rows: Sequence[samples.GpuSample]) -> snapshot.Gpu:
    last = rows[-1]
    used = load.mean(row.utilisation_percent for row in rows)
    return snapshot.Gpu(
        index=index,
        name=last.name,
        utilisation=None if used is None else used / 100,
        memory_used=last.memory_used,
        memory_total=last.memory_total,
        power_mw=last.power_mw,
        power_limit_mw=last.power_limit_mw,
        temperature_c=last.temperature_c,
        throttle=last.throttle,
    )
