"""The box at a glance: what it is made of, how hard it works, what it answers, who did what last.

All of it stands at 80×24; larger terminals get longer charts and more columns. Drawing is done by
pure functions of the picture and the size. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.containers import Horizontal
from textual.widget import Widget

from app import snapshot, words
from app.screens.place import Place
from app.widgets import arms, ink, table
from app.widgets.chart import Chart
from app.widgets.ink import Line
from app.widgets.lines import Lines

_CHART_ROWS: Final = 4
_CHART_MOST: Final = 16
_EVENTS: Final = 3
_GPUS: Final = 4
_WORKERS: Final = 3
_SECOND_US: Final = 1_000_000
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


def _of(used: int, total: int) -> str:
    unit = words.size(total).rpartition(" ")[2]
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[unit]
    return f"{used / scale:.1f}/{total / scale:.1f} {unit}"


def machine(seen: snapshot.Machine, width: int) -> list[Line]:
    """A row for each GPU, or all as one, and a row for the host."""
    rows: list[Line] = []
    if len(seen.gpus) > _GPUS:
        rows.append(_gpus(seen.gpus))
    else:
        rows += [_gpu(each) for each in seen.gpus]
    rows.append(_host(seen, width))
    return [ink.cut(row, width) for row in rows]


def _gpu(gpu: snapshot.Gpu) -> Line:
    slow = ((f"   ▲ {', '.join(gpu.throttle)}", "bad"),) if gpu.throttle else ()
    return (
        (f" GPU {gpu.index}  ", "bold"),
        *gauge(gpu.utilisation, 12),
        (f" {share(gpu.utilisation)}", "bold"),
        (f"   MEM {_of(gpu.memory_used, gpu.memory_total)}", ""),
        (f"   PWR {gpu.power_mw / 1000:.0f}/{gpu.power_limit_mw / 1000:.0f} W", ""),
        (f"   {gpu.temperature_c} °C", ""),
        *slow,
    )


def _gpus(gpus: Sequence[snapshot.Gpu]) -> Line:
    used = sum(each.utilisation for each in gpus) / len(gpus)
    low, high = min(each.utilisation for each in gpus), max(each.utilisation for each in gpus)
    memory = _of(sum(each.memory_used for each in gpus), sum(each.memory_total for each in gpus))
    power = sum(each.power_mw for each in gpus) / 1000
    slowed = sum(bool(each.throttle) for each in gpus)
    return (
        (f" GPU ×{len(gpus)} ", "bold"),
        *gauge(used, 12),
        (f" {share(used)}", "bold"),
        (f" ({low * 100:.0f}–{high * 100:.0f})", "dim"),
        (f"   MEM {memory}   PWR {power:.0f} W", ""),
        (f"   {max(each.temperature_c for each in gpus)} °C", ""),
        *(((f"   ▲ {slowed} slowed", "bad"),) if slowed else ()),
    )


def _host(seen: snapshot.Machine, width: int) -> Line:
    host = seen.host
    absent = "no GPU: NVML is silent" if seen.driver else "no GPU: driver not found"
    missing: Line = () if seen.gpus else ((absent, "dim"),)
    if host is None:
        return ink.join(((), ((" HOST", "bold"), ("   not measured now", "dim")), missing))
    disk: Line = (
        (
            f"DISK {_of(host.disk_used, host.disk_total)}",
            "bad" if host.disk_used > _FULL * host.disk_total else "",
        ),
    )
    head: Line = (
        (" HOST   ", "bold"),
        *gauge(host.cpu, 12 if width >= _ROOMY else 6),
        (f" {share(host.cpu)}", "bold"),
        (f" of {host.cores} CPU", ""),
    )
    memory: Line = ((f"RAM {_of(host.memory_used, host.memory_total)}", ""),)
    tight = host.disk_used > _FULL * host.disk_total
    rest = [disk, missing] if tight or seen.gpus else [missing, disk]
    found = ink.join((head, memory))
    for part in (*rest, ((f"load {host.load1:.2f}", ""),)):
        if part and ink.length(found) + 3 + ink.length(part) <= width:
            found = ink.join((found, part))
    return found


def load(seen: snapshot.Pulse) -> Line:
    """Batch, cache, queue, speed."""
    now = seen.load
    running = words.UNKNOWN if now is None else f"{now.running}/{now.max_running}"
    waiting = words.UNKNOWN if now is None else words.count(now.waiting)
    oldest = f" oldest {words.duration(now.oldest_us)}" if now is not None and now.waiting else ""
    parts: list[Line] = [
        (("BATCH ", "bold"), (f"{running:>5}", ""), (" running", "")),
        (("KV ", "bold"), (share(now.kv if now else None), "")),
        (("QUEUE ", "bold"), (waiting + oldest, "warn" if oldest else "")),
        ((words.rate(now.tokens_per_s if now else None, "tok"), ""),),
        (("ttft p95 ", ""), (words.duration(seen.ttft_p95_us), "")),
    ]
    return ((" ", ""), *ink.join(parts))


def parts(seen: Sequence[snapshot.Part], width: int) -> list[Line]:
    """The node's processes, then a row for each worker."""
    plain = [_part(each) for each in seen if each.kind != "worker"]
    workers = [each for each in seen if each.kind == "worker"]
    rows = ink.flow(plain, width) if plain else [((" none yet", "dim"),)]
    rows += [ink.cut(_worker(each), width) for each in workers[:_WORKERS]]
    if len(workers) > _WORKERS:
        ailing = sum(each.state != "ready" for each in workers[_WORKERS:])
        rest = f" and {len(workers) - _WORKERS} more workers, {ailing} of them not ready"
        rows.append(((rest, "bad" if ailing else "dim"),))
    return rows


def _state(part: snapshot.Part) -> Line:
    signs = {"ready": ("●", "good"), "starting": ("○", "warn"), "draining": ("○", "warn")}
    sign, name = signs.get(part.state, ("▲", "bad"))
    if part.state in {"stopped", "not running"}:
        sign, name = "○", "dim"
    again = ((f" ↻{part.restarts}", "warn"),) if part.restarts else ()
    why = ((f" {part.reason}", "bad"),) if part.reason and part.state != "ready" else ()
    return ((f"{sign} ", name), (part.state, "" if sign == "●" else name), *again, *why)


def _part(part: snapshot.Part) -> Line:
    return ((f"{part.name} ", "bold"), *_state(part))


def _worker(part: snapshot.Part) -> Line:
    found: Line = ((" worker ", ""), (f"{part.name} ", "bold"), *_state(part))
    now = part.load
    if now is None:
        return found
    speed = words.rate(now.tokens_per_s, "tok")
    figures = f"   {now.running}/{now.max_running} running   KV {share(now.kv).strip()}"
    return (*found, (f"{figures}   busy {share(now.busy).strip()}   {speed}", ""))


def events(seen: Sequence[snapshot.Event], now_us: int, width: int) -> list[Line]:
    """What people wanted and what happened, newest first; times are UTC."""
    rows: list[Line] = []
    for each in seen:
        bad = each.state in {"refused", "failed", "crashed"}
        today = words.clock(each.at_us)[:10] == words.clock(now_us)[:10]
        at = words.clock(each.at_us)[11:19] if today else words.clock(each.at_us)[5:16]
        who = words.pad(each.who, 10)
        what = f"▲ {each.state}: {each.what}" if bad else each.what
        rows.append(ink.cut(((f" {at:<11}", "dim"), (f"{who} ", ""), (what, "bad" * bad)), width))
    return rows or [((" nothing yet", "dim"),)]


def below(seen: snapshot.Pulse, now_us: int, width: int, height: int, most: int) -> list[Line]:
    """All that stands below the charts, in at most `most` rows and at best `height`."""
    names = ", ".join(each.name for each in seen.services)
    title = f"TRAFFIC {names}".strip() if len(seen.services) <= 1 else "TRAFFIC"
    columns = arms.columns(seen.lately, seen.services)
    rows: list[Line] = [load(seen)]
    rows.append(ink.rule(width, title, arms.about(seen.services, seen.lately)))
    rows.append(table.head(columns, width))
    found = [table.body(columns, row, width) for row in arms.rows(seen.services)]
    tail = [ink.rule(width, "PROCESSES"), *parts(seen.parts, width), ink.rule(width, "LAST", "UTC")]
    room = max(most - len(rows) - len(tail) - 1, 2)
    if len(found) > room:
        left = len(found) - room + 1
        found = [*found[: room - 1], ((f" and {left} more arms: t", "dim"),)]
    rows += found or [((" no service yet: `paddock services create`", "dim"),)]
    rows += tail
    return rows + events(seen.events, now_us, width)[: max(height - len(rows), 1)]


class Pulse(Place):
    """The box at a glance."""

    where: ClassVar[str] = "pulse"

    def body(self) -> Iterable[Widget]:
        """Machine, charts, and the rest."""
        yield Lines(id="machine", grows=True)
        yield Horizontal(
            Chart(id="chart0"), Chart(id="chart1", mark="draw2"), Chart(id="chart2"), id="charts"
        )
        yield Lines(id="below", grows=True)

    def draw(self, picture: snapshot.Picture) -> None:
        """Draw the body; the charts get what the words leave."""
        seen, width = picture.pulse, self.size.width
        if seen is None:
            self._waiting(picture.house)
            return
        top = machine(seen.machine, width)
        self.query_one("#machine", Lines).show(top)
        room = self.size.height - 3 - len(top)
        fixed = len(below(seen, picture.house.now_us, width, 0, room - _CHART_ROWS)) - 1
        spare = room - fixed
        chart = min(max(spare - _EVENTS, _CHART_ROWS), _CHART_MOST)
        rows = below(seen, picture.house.now_us, width, room - chart, room - _CHART_ROWS)
        self.query_one("#below", Lines).show(rows)
        count = 3 if width >= 180 else 2 if width >= 120 else 1  # noqa: PLR2004
        for number, chart_of in enumerate(self.query(Chart)):
            shown = number < min(count, len(seen.charts))
            chart_of.display = shown
            if shown:
                chart_of.show_series(seen.charts[number], self.desk.glyphs)

    def _waiting(self, house: snapshot.HouseLine) -> None:
        said = house.error or "reading the store…"
        self.query_one("#machine", Lines).show(
            [(), ((f" {said}", "bold" if house.error else "dim"),)]
        )
