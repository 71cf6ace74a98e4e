"""Probes of the whole box: its GPUs, its memory and disk, what is quarantined or frozen.

Imported by `runbooks.probes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from runbooks.looking.probe import Probe, rounded
from runbooks.values import Value
from storage import (
    deployments,
    freezes,
    machine,
    processes,
    quarantine,
    services,
    spending,
    upstream_health,
)
from storage.deployments import Status
from storage.home import config
from storage.measures import Window
from storage.samples import GpuSample, HostSample
from storage.sqlite import location
from storage.store import Session


def _gpu(figure: Callable[[Sequence[GpuSample]], float | None]) -> Probe:
    async def probe(s: Session, _of: str, window_s: int, second: int) -> Value:
        return rounded(figure(await machine.gpus(s, Window.last(window_s, second))))

    probe.__doc__ = figure.__doc__
    return probe


def _host(figure: Callable[[HostSample | None], float | None]) -> Probe:
    async def probe(s: Session, _of: str, window_s: int, second: int) -> Value:
        return rounded(figure(await machine.host(s, Window.last(window_s, second))))

    probe.__doc__ = figure.__doc__
    return probe


async def gpus(s: Session, _of: str, window_s: int, second: int) -> Value:
    """How many GPUs answered in the window; 0 where none did."""
    return machine.gpus_measured(await machine.gpus(s, Window.last(window_s, second)))


async def gpus_before(s: Session, _of: str, _window_s: int, second: int) -> Value:
    """How many GPUs answered in the hour before the last minute; None where none did."""
    window = Window(second - 3_660, second - 60)
    return machine.gpus_measured(await machine.gpus(s, window)) or None


async def frozen(s: Session, _of: str, _window_s: int, _second: int) -> Value:
    """Whether the box is frozen: 1 or 0."""
    return int(await freezes.of_box(s) is not None)


async def quarantined(s: Session, _of: str, _window_s: int, _second: int) -> Value:
    """How many templates are quarantined."""
    return len(await quarantine.every(s))


async def quarantined_version(s: Session, _of: str, _window_s: int, _second: int) -> Value:
    """The version whose template was quarantined last; None without one."""
    found = await quarantine.every(s)
    return found[-1].subject if found else None


async def failing_deployment(s: Session, _of: str, _window_s: int, _second: int) -> Value:
    """A deployment whose instances died again and again; None where all is well."""
    found = [each.name for each in await deployments.every(s) if each.status is Status.FAILING]
    return found[0] if found else None


async def restarting_deployment(s: Session, _of: str, _window_s: int, _second: int) -> Value:
    """The deployment whose instance was restarted most; None where none was."""
    found = [each for each in await processes.every(s) if each.deployment and each.restarts]
    worst = max(found, key=lambda each: each.restarts, default=None)
    return None if worst is None else worst.deployment


async def silent_deployment(s: Session, _of: str, _window_s: int, _second: int) -> Value:
    """A deployment with an instance that gives no sign of life, or an upstream that gives none."""
    found = [each for each in await processes.every(s) if each.silent_since_us is not None]
    if found:
        return found[0].deployment
    down = {
        name for name, each in (await upstream_health.every(s)).items() if each.reason is not None
    }
    remote = [each.name for each in await deployments.every(s) if each.upstream in down]
    return remote[0] if remote else None


async def cost_today(s: Session, _of: str, _window_s: int, second: int) -> Value:
    """What the calendar day has cost so far, in its currency; None where nothing is priced."""
    settings, _ = config.readable(await location.home(await s.connection()))
    today = await spending.today(s, second, settings.price)
    return None if today.micro is None else rounded(today.micro / 1e6, 2)


async def only_service(s: Session, _of: str, _window_s: int, _second: int) -> Value:
    """The service of a box that has one; None where there are several."""
    found = await services.every(s)
    return found[0].name if len(found) == 1 else None


PROBES: Final[Mapping[str, Probe]] = {
    "gpu_utilisation": _gpu(machine.gpu_utilisation),
    "gpu_temperature_c": _gpu(machine.gpu_temperature),
    "gpu_memory": _gpu(machine.gpu_memory),
    "gpus_throttled": _gpu(machine.gpus_throttled),
    "gpus": gpus,
    "gpus_before": gpus_before,
    "disk_used": _host(machine.disk_used),
    "memory_used": _host(machine.memory_used),
    "box_frozen": frozen,
    "quarantined": quarantined,
    "quarantined_version": quarantined_version,
    "failing_deployment": failing_deployment,
    "restarting_deployment": restarting_deployment,
    "silent_deployment": silent_deployment,
    "cost_today": cost_today,
    "only_service": only_service,
}
