"""One request in full: who asked, what answered, where the time went, what was said.

Texts are foreign: they are shown with every control character made visible, and only where the
service records them. Imported by `app.tui`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from app import snapshot, words
from app.screens.scrolled import Scrolled
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.palette import Line

_LABEL: Final = 11


def _row(label: str, value: str, name: str = "") -> Line:
    return ((f" {label:<{_LABEL}}", "dim"), (value, name))


def timings(request: snapshot.Request, width: int) -> list[Line]:
    """Where the time went, to scale: waiting, until the first token, the rest."""
    row = request.row
    whole = max(row.latency_us, 1)
    first = row.ttft_us
    queue = min(row.queue_us, whole)
    spans = [("queued", queue, "dim")]
    if first is not None:
        spans.append(("first token", max(first - queue, 0), "draw"))
        spans.append(("the rest", max(row.latency_us - first, 0), "draw2"))
    else:
        spans.append(("no token came", max(row.latency_us - queue, 0), "warn"))
    room = max(width - _LABEL - 30, 10)
    rows: list[Line] = []
    begin = 0
    for name, span, tone in spans:
        left = round(begin / whole * room)
        cells = max(round((begin + span) / whole * room) - left, 1 if span else 0)
        drawn = " " * min(left, room - cells) + "█" * cells
        rows.append(
            (
                (f" {name:<{_LABEL + 3}}", "dim"),
                (f"{words.duration(span):>11} ", ""),
                ("│", "dim"),
                (drawn.ljust(room), tone),
                ("│", "dim"),
            )
        )
        begin += span
    speed = "–"
    if first is not None and row.latency_us > first and row.completion_tokens > 1:
        speed = words.rate((row.completion_tokens - 1) * 1e6 / (row.latency_us - first), "tok")
    rows.append(
        (
            (f" {'in all':<{_LABEL + 3}}", "dim"),
            (f"{words.duration(row.latency_us):>11} ", "bold"),
            (f"  {speed} after the first", ""),
            (f"   worker time {words.duration(request.busy_us)}", ""),
        )
    )
    return rows


def facts(request: snapshot.Request) -> list[Line]:
    """Who asked, what answered, how it ended."""
    row = request.row
    arm = "no arm" if row.release is None else f"r{row.release}"
    bad = {"failed": "bad", "refused": "warn"}.get(row.outcome, "bold")
    sign = {"failed": "▲ ", "refused": "△ "}.get(row.outcome, "")
    ended = f"{sign}{row.outcome}"
    why = request.error_code or request.finish_reason
    how = "streamed" if row.stream else "answered whole"
    who = f"key {request.key or 'unknown'}, tenant {request.tenant}"
    seed = "–" if request.seed is None else str(request.seed)
    return [
        _row("arrived", f"{words.clock(row.at_us)}   {request.endpoint}, {how}"),
        _row("asked by", who + ("   SYNTHETIC load" if row.synthetic else "")),
        _row("answered", f"{row.service} {arm} {request.model}   worker {request.worker or '–'}"),
        ((f" {'ended':<{_LABEL}}", "dim"), (ended, bad), (f"   {why}" if why else "", "")),
        _row(
            "tokens",
            f"{words.count(row.prompt_tokens)} in"
            + (f" ({words.count(request.cached_tokens)} cached)" if request.cached_tokens else "")
            + f", {words.count(row.completion_tokens)} out"
            f"   class {row.class_}   seed {seed}",
        ),
    ]


def said(request: snapshot.Request, width: int) -> list[Line]:
    """What clients thought, and the texts."""
    rows: list[Line] = []
    for each in request.opinions:
        thumb = "up" if each.score > 0 else "down"
        right = {True: ", correct", False: ", not correct", None: ""}[each.correct]
        said = f"thumb {thumb}{right}   {words.clock(each.at_us)}   {words.safe(each.comment)}"
        wrapped = bar.wrapped(said, max(width - _LABEL - 2, 1))
        rows += [_row("" if at else "feedback", row) for at, row in enumerate(wrapped)]
    if request.prompt is None:
        why = "not kept any more" if request.records_text else "this service keeps no texts"
        return [*rows, palette.rule(width, "TEXT"), ((f" {why}", "dim"),)]
    rows += [palette.rule(width, "PROMPT"), *_text(request.prompt, width)]
    if request.reasoning is not None:
        rows += [palette.rule(width, "REASONING"), *_text(request.reasoning, width)]
    return [*rows, palette.rule(width, "ANSWER"), *_text(request.completion or "", width)]


def _text(text: str, width: int) -> list[Line]:
    rows: list[Line] = []
    for line in words.safe(text, lines=True).split("\n"):
        rows += [((f" {part}", ""),) for part in bar.wrapped(line, max(width - 2, 1))]
    return rows


def draw(request: snapshot.Request, width: int) -> list[Line]:
    """All of it."""
    return [
        palette.rule(width, f"REQUEST {request.row.id}"),
        *(palette.cut(line, width) for line in facts(request)),
        palette.rule(width, "TIME"),
        *timings(request, width),
        *said(request, width),
    ]


class Request(Scrolled):
    """One request."""

    where: ClassVar[str] = "request"
    hints: ClassVar = (("y", "copy id"),)
    acts: ClassVar = ("look.copy",)

    def __init__(self) -> None:
        super().__init__()
        self.request = ""

    def wanted(self) -> Query:
        """That request."""
        return Query(place=self.where, request=self.request)

    def path(self) -> str:
        """With its id."""
        return f"pulse › requests › {self.request}"

    def open(self, what: str) -> None:
        """Show another one from now on."""
        self.request, self._top, self._rows = what, 0, []

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        found = current.request
        if found is not None and found.row.id == self.request:
            self._rows = draw(found, self.size.width)
        elif not self._rows or current.missing:
            said = current.header.error or current.missing or "reading the store…"
            self._rows = saying(said, self.size.width)
        self._scroll()

    def copied(self) -> str:
        """Its id."""
        return self.request


def saying(said: str, width: int) -> list[Line]:
    """A sentence in place of the request."""
    return [(), *bar.saying(said, "bold", width)]
