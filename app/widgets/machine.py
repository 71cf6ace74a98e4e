"""The machine as rows: one for each GPU, or all GPUs as one, and one for the host.

Imported by the pulse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app import snapshot, words
from app.widgets import palette
from app.widgets.palette import Line

_GPUS: Final = 4
_FULL: Final = 0.9
_ROOMY: Final = 100


def gauge(share: float | None, cells: int) -> Line:
    """A bar for a share of one, to an eighth of a cell."""
    filled = round(min(max(share or 0.0, 0.0), 1.0) * cells * 8)
    whole, rest = divmod(filled, 8)
    drawn = "█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return (("▕", "dim"), (drawn.ljust(cells), "draw"), ("▏", "dim"))


def share(value: float | None) -> str:
    """A share as whole percent, in five cells."""
    return f"{words.UNKNOWN:>5}" if value is None else f"{value * 100:3.0f} %"


def taken(used: int, total: int) -> str:
    """Bytes of all there are: 61.0/80.0 GB."""
    unit = words.size(total).rpartition(" ")[2]
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[unit]
    return f"{used / scale:.1f}/{total / scale:.1f} {unit}"


def draw(seen: snapshot.Machine, width: int) -> list[Line]:
    """A row for each GPU, or all as one, and a row for the host."""
    rows: list[Line] = []
    if len(seen.gpus) > _GPUS:
        rows.append(_gpus(seen.gpus))
    else:
        rows += [_gpu(each) for each in seen.gpus]
    rows.append(host(seen, width))
    return [palette.cut(row, width) for row in rows]


def _gpu(gpu: snapshot.Gpu) -> Line:
    slow = ((f"   ▲ {', '.join(gpu.throttle)}", "bad"),) if gpu.throttle else ()
    return (
        (f" GPU {gpu.index}  ", "bold"),
        *gauge(gpu.utilisation, 12),
        (f" {share(gpu.utilisation)}", "bold"),
        (f"   MEM {taken(gpu.memory_used, gpu.memory_total)}", ""),
        (f"   PWR {words.watts(gpu.power_mw)}/{words.watts(gpu.power_limit_mw)} W", ""),
        (f"   {words.whole(gpu.temperature_c)} °C", ""),
        *slow,
    )


def _gpus(gpus: Sequence[snapshot.Gpu]) -> Line:
    known = [each.utilisation for each in gpus if each.utilisation is not None]
    used = sum(known) / len(known) if known else None
    spread = f" ({min(known) * 100:.0f}–{max(known) * 100:.0f})" if known else ""
    memory = taken(sum(each.memory_used for each in gpus), sum(each.memory_total for each in gpus))
    powers = [each.power_mw for each in gpus if each.power_mw is not None]
    power = sum(powers) if len(powers) == len(gpus) else None  # of some it would be too little
    hottest = max(
        (each.temperature_c for each in gpus if each.temperature_c is not None), default=None
    )
    slowed = sum(bool(each.throttle) for each in gpus)
    return (
        (f" GPU ×{len(gpus)} ", "bold"),
        *gauge(used, 12),
        (f" {share(used)}", "bold"),
        (spread, "dim"),
        *(((f"   ▲ {slowed} slowed", "bad"),) if slowed else ()),
        (f"   {words.whole(hottest)} °C", ""),
        (f"   MEM {memory}   PWR {words.watts(power)} W", ""),
    )


def host(seen: snapshot.Machine, width: int) -> Line:
    """The machine around the GPUs; why there is none."""
    host = seen.host
    absent = "no GPU: NVML is silent" if seen.driver else "no GPU: driver not found"
    missing: Line = () if seen.gpus else ((absent, "dim"),)
    if host is None:
        return palette.join(((), ((" HOST", "bold"), ("   not measured now", "dim")), missing))
    tight = host.disk_used > _FULL * host.disk_total
    used = f"{'▲ ' * tight}DISK {taken(host.disk_used, host.disk_total)}"
    disk: Line = ((used, "bad" if tight else ""),)
    head: Line = (
        (" HOST   ", "bold"),
        *gauge(host.cpu, 12 if width >= _ROOMY else 6),
        (f" {share(host.cpu)}", "bold"),
        (f" of {host.cores} CPU", ""),
    )
    memory: Line = ((f"RAM {taken(host.memory_used, host.memory_total)}", ""),)
    rest = [disk, missing] if tight or seen.gpus else [missing, disk]
    found = palette.join((head, memory))
    for part in (*rest, ((f"load {host.load1:.2f}", ""),)):
        if part and palette.length(found) + 3 + palette.length(part) <= width:
            found = palette.join((found, part))
    return found
