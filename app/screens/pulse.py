"""The box at a glance: what it is made of, how hard it works, what it answers, who did what last.

All of it fits 80×24; larger terminals get longer charts and more columns. Drawing is done by
pure functions of the snapshot and the size. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.containers import Horizontal
from textual.widget import Widget

from app import snapshot, words
from app.screens import leading
from app.screens.place import Offer, Place
from app.widgets import arms, bar, machine, palette, table
from app.widgets.chart import Chart
from app.widgets.lines import Lines
from app.widgets.palette import Line

_CHART_ROWS: Final = 4
_CHART_MOST: Final = 16
_EVENTS: Final = 3
_TROUBLES: Final = 2
_TROUBLES_ROOMY: Final = 5
_ROOMY: Final = 30  # rows of a terminal
_DEPLOYMENTS: Final = 3
_ROLLOUTS: Final = 2
_NAME: Final = 12
_SECOND_US: Final = 1_000_000
_LABELS: Final = {"local": "worker"}
_SIGNS: Final = {
    "ready": ("●", "good"),
    "answering": ("●", "good"),
    "starting": ("○", "warn"),
    "draining": ("○", "warn"),
    "stopped": ("○", "dim"),
    "not running": ("○", "dim"),
}

_EVENT_SIGNS: Final = {
    "refused": "▲ refused: ",
    "failed": "▲ failed: ",
    "crashed": "▲ ",
    "failing": "▲ ",
}


def troubles(seen: Sequence[snapshot.Trouble], width: int, most: int) -> list[Line]:
    """What is wrong, the worst in full where there is room; the header has a few words for it."""
    shown = seen if len(seen) <= most else seen[: most - 1]
    rest = len(seen) - len(shown)
    spare = most - len(shown) - (1 if rest else 0)
    rows: list[Line] = []
    for each in shown:
        sentence = words.shorten_paths(each.sentence, max(width - 4, 1) * (1 + spare))
        first, *others = bar.wrapped(sentence, max(width - 4, 1))
        kept, others = others[:spare], others[spare:]
        spare -= len(kept)
        rows += [((f" ▲ {first}", "bad"),), *(((f"   {row}", "bad"),) for row in kept)]
        if others:
            rows[-1] = palette.cut((*rows[-1], (f" {others[0]}", "bad")), width)
    if rest:
        rows.append(((f" ▲ and {rest} more: ! shows all of them", "bad"),))
    return rows


def load(seen: snapshot.Pulse, width: int) -> Line:
    """Batch, cache, queue, speed; on narrow screens the speed is dropped first."""
    now = seen.load
    running = words.UNKNOWN if now is None else f"{now.running}/{words.whole(now.max_running)}"
    waiting = words.UNKNOWN if now is None else words.count(now.waiting)
    oldest = ""
    if now is not None and now.waiting:
        oldest = f", {now.held} held" if now.held else ""
        oldest += f", oldest {words.brief(now.oldest_us)}" if now.oldest_us else ""
    speed: Line = ((words.rate(now.tokens_per_s if now else None, "tok"), ""),)
    parts: list[Line] = [
        (("BATCH ", "bold"), (f"{running:>5}", ""), (" running", "")),
        (("KV ", "bold"), (machine.share(now.kv if now else None), "")),
        (("QUEUE ", "bold"), (waiting + oldest, "warn" if now is not None and now.waiting else "")),
        (("ttft p95 ", ""), (words.brief(seen.ttft_p95_us), "")),
    ]
    for found in (palette.join([*parts[:3], speed, parts[3]]), palette.join(parts)):
        if palette.length(found) < width:
            return ((" ", ""), *found)
    return ((" ", ""), *palette.join(parts, "  "))


def supervised(seen: snapshot.Pulse, width: int) -> list[Line]:
    """The node's processes, then a row for each deployment, those that are not well first."""
    plain = [_process(each) for each in seen.processes]
    rows = palette.flow(plain, width) if plain else [((" none yet", "dim"),)]
    found = sorted(seen.deployments, key=lambda each: each.well)
    rows += [_deployment(each, width) for each in found[:_DEPLOYMENTS]]
    if len(found) > _DEPLOYMENTS:
        ailing = sum(not each.well for each in found[_DEPLOYMENTS:])
        more = f" and {words.counted(len(found) - _DEPLOYMENTS, 'more deployment')}"
        rest = f"{more}, {ailing} of them not ready" if ailing else more
        rows.append(((rest, "bad" if ailing else "dim"),))
    return rows


def without_store(
    header: snapshot.Header, seen: snapshot.Pulse, width: int, most: int
) -> list[Line]:
    """What is wrong with the store, in full, and what the node says of its processes."""
    said = [words.shorten_paths(word, width - 1) for word in f"▲ {header.error}".split()]
    sentence: list[Line] = [((word, "bad"),) for word in said]
    others = [each for each in header.troubles if each.sentence != header.error]
    elsewhere = " Services, traffic and figures are in the store."
    return [
        *palette.flow(sentence, width, gap=" "),
        *troubles(others, width, most),
        palette.rule(width, "PROCESSES"),
        *supervised(seen, width),
        ((elsewhere, "dim"),),
    ]


def _state(state: str, said: str, restarts: int, reason: str) -> Line:
    sign, tone = _SIGNS.get(state, ("▲", "bad"))
    again = ((f" ↻{restarts}", "warn"),) if restarts else ()
    why = ((f": {words.safe(reason)}", "bad"),) if reason and sign != "●" else ()
    return ((f"{sign} ", tone), (said, "" if sign == "●" else tone), *again, *why)


def _process(process: snapshot.Process) -> Line:
    state = _state(process.state, process.state, process.restarts, process.reason)
    return ((f"{process.name} ", "bold"), *state)


def _deployment(seen: snapshot.Deployment, width: int) -> Line:
    """A deployment; on a narrow screen its name is shortened first, then figures go."""
    now = seen.load
    said = seen.state
    if seen.instances and (seen.replicas > 1 or len(seen.instances) > 1):
        said = f"{seen.ready}/{seen.replicas} ready" + f", {seen.state}" * (not seen.well)
    state = _state(seen.state, said, seen.restarts, seen.reason)
    figures = []
    if now is not None:
        figures = [
            f"{now.running}/{words.whole(now.max_running)} running",
            f"KV {machine.share(now.kv).strip()}",
            words.rate(now.tokens_per_s, "tok"),
        ]
        if now.busy is not None:
            figures.append(f"busy {machine.share(now.busy).strip()}")
    label = f" {_LABELS.get(seen.backend, seen.backend)} "
    taken = palette.length(state) + len(label) + 1 + 3 * len(figures)
    while figures and taken + sum(map(words.width, figures)) + min(len(seen.name), _NAME) > width:
        figures.pop()
        taken -= 3
    name = words.squeeze(seen.name, max(width - taken - sum(map(words.width, figures)), _NAME))
    row: Line = ((label, ""), (name, "bold"), (" ", ""), *state)
    return palette.cut((*row, *(("   " + each, "") for each in figures)), width)


def events(seen: Sequence[snapshot.Event], now_us: int, width: int) -> list[Line]:
    """What people wanted and what happened, newest first; times are UTC."""
    rows: list[Line] = []
    for each in seen:
        sign = _EVENT_SIGNS.get(each.state, "")
        today = words.clock(each.at_us)[:10] == words.clock(now_us)[:10]
        at = words.clock(each.at_us)[11:19] if today else words.clock(each.at_us)[5:16]
        who = words.pad(each.who, 10)
        tone = "bad" if sign else ""
        what = words.shorten_paths(f"{sign}{each.what}", max(width - 24, 1))
        why = ((f"  “{each.reason}”", "dim"),) if each.reason else ()
        row: Line = ((f" {at:<11} ", "dim"), (f"{who} ", ""), (what, tone), *why)
        rows.append(palette.cut(row, width))
    return rows or [((" nothing yet", "dim"),)]


def rollouts(latest: Sequence[snapshot.RolloutRow], width: int) -> list[Line]:
    """The rollouts under way, a row each; the place has all of them."""
    found = [each for each in latest if each.under_way]
    rows: list[Line] = []
    for each in found[:_ROLLOUTS]:
        step = f"step {each.step}/{each.steps}, {each.doing}" if each.step else each.state
        head = f" ROLLOUT {each.id}  {each.service} {each.change}  "
        tone = "warn" if each.phase == "Paused" else ""
        rows.append(palette.cut(((head, "bold"), (f"{each.phase}: {step}", tone)), width))
    if len(found) > _ROLLOUTS:
        rows.append(((f" and {words.counted(len(found) - _ROLLOUTS, 'more rollout')}: r", "dim"),))
    return rows


def maintenance(seen: Sequence[snapshot.Maintenance], now_us: int, width: int) -> list[Line]:
    """The maintenance window that is in force, else the next one; the alerts list all of them."""
    if not seen:
        return []
    first = seen[0]
    when = f"until {_at(first.ends_at_us, now_us)}, {words.brief(first.ends_at_us - now_us)} left"
    if not first.begun:
        ahead = max(first.starts_at_us - now_us, 0)
        when = f"from {_at(first.starts_at_us, now_us)}, in {words.brief(ahead)}"
    head = f" MAINTENANCE {words.safe(first.of)}  "
    why = f"  “{words.safe(first.reason)}”"
    row: Line = ((head, "bold"), (when, "warn" if first.begun else ""), (why, "dim"))
    if len(seen) == 1:
        return [palette.cut(row, width)]
    more = f"  +{len(seen) - 1}: a"
    return [(*palette.cut(row, width - len(more)), (more, "dim"))]


def _at(at_us: int, now_us: int) -> str:
    """A time of today by the clock, another one with its date."""
    said = words.clock(at_us)
    return said[11:16] if said[:10] == words.clock(now_us)[:10] else said[5:16]


def below(
    seen: snapshot.Pulse, led: Sequence[Line], now_us: int, width: int, height: int, most: int
) -> list[Line]:
    """All rows below the charts, in at most `most` rows and at best `height`.

    `led` are maintenance windows and rollouts.
    """
    names = ", ".join(each.name for each in seen.services)
    title = f"TRAFFIC {names}".strip() if len(seen.services) <= 1 else "TRAFFIC"
    columns = arms.columns(seen.window, seen.services)
    rows: list[Line] = [load(seen, width)]
    rows.append(palette.rule(width, title, arms.about(seen.window)))
    rows.append(table.head(columns, width))
    found = [table.body(columns, row, width) for row in arms.rows(seen.services, seen.window)]
    ailing = arms.ailing_first(seen.services)
    tail = [
        *led,
        palette.rule(width, "PROCESSES"),
        *supervised(seen, width),
        palette.rule(width, "LAST", "UTC"),
    ]
    room = max(most - len(rows) - len(tail) - 1, 2)
    if len(found) > room:
        left = len(found) - room + 1
        shown = [found[at] for at, _ in ailing[: room - 1]]
        bad = sum(bool(arm.failed or arm.refused) for _, arm in ailing[room - 1 :])
        failing = f", {bad} of them failing or refusing" * bool(bad)
        rest = f" and {words.counted(left, 'more arm')}{failing}: t"
        found = [*shown, ((rest, "bad" if bad else "dim"),)]
    rows += found or [((" no service yet: `paddock services create`", "dim"),)]
    rows += tail
    return rows + events(seen.events, now_us, width)[: max(height - len(rows), 1)]


class Pulse(Place):
    """The box at a glance."""

    where: ClassVar[str] = "pulse"
    acts: ClassVar = ("rollouts.undo",)

    _drawn = False
    _latest: Sequence[snapshot.RolloutRow] = ()

    def body(self) -> Iterable[Widget]:
        """Machine, charts, and the rest."""
        yield Lines(id="machine", grows=True)
        yield Horizontal(
            Chart(id="chart0"), Chart(id="chart1", mark="draw2"), Chart(id="chart2"), id="charts"
        )
        yield Lines(id="below", grows=True)

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the body; the charts get what the words leave."""
        seen, width = current.pulse, self.size.width
        if seen is None:
            self._waiting(current.header)
            return
        self._drawn = True
        most = _TROUBLES if self.size.height < _ROOMY else _TROUBLES_ROOMY
        if current.header.error:
            self._only(without_store(current.header, seen, width, most))
            return
        top = [
            *troubles(current.header.troubles, width, most),
            *machine.draw(seen.machine, width),
        ]
        self.query_one("#machine", Lines).show(top)
        room = self.size.height - 3 - len(top)
        self._latest = current.latest
        now_us = current.header.now_us
        led = [*maintenance(seen.maintenance, now_us, width), *rollouts(current.latest, width)]
        fixed = len(below(seen, led, now_us, width, 0, room - _CHART_ROWS)) - 1
        spare = room - fixed
        chart = min(max(spare - _EVENTS, _CHART_ROWS), _CHART_MOST)
        rows = below(seen, led, now_us, width, room - chart, room - _CHART_ROWS)
        self.query_one("#below", Lines).show(rows)
        count = 3 if width >= 180 else 2 if width >= 120 else 1  # noqa: PLR2004
        for number, chart_of in enumerate(self.query(Chart)):
            shown = number < min(count, len(seen.charts))
            chart_of.display = shown
            if shown:
                chart_of.show_series(seen.charts[number], self.program.glyphs)

    def _waiting(self, header: snapshot.Header) -> None:
        if self._drawn and not header.error:
            return  # back from another place: the earlier figures stay until the next look
        said = header.error or "reading the store…"
        ink = "bold" if header.error else "dim"
        self._only([(), *bar.saying(said, ink, self.size.width)])

    def _only(self, rows: list[Line]) -> None:
        """These rows and no figures: those of before may be wrong by now."""
        self.query_one("#machine", Lines).show(rows)
        self.query_one("#below", Lines).show([])
        for chart in self.query(Chart):
            chart.display = False

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Undo the rollout that is meant where only one can be."""
        del typed
        return leading.undo(self._latest) if name == "rollouts.undo" else None
