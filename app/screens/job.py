"""One job in full: how far it is, its steps, why it waits or ended, and its log.

The log follows its newest line until it is scrolled. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.widget import Widget

from app import progress_bar, snapshot, words
from app.screens import jobs
from app.screens.place import Offer, Place
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line

_LABEL: Final = 11
_BAR: Final = 24


def facts(job: snapshot.Job, width: int, *, ascii_only: bool = False) -> list[Line]:
    """What it is, how far, and why."""
    row = job.row
    tone = {"failed": "bad", "running": "good", "cancelling": "warn"}.get(row.state, "bold")
    lines: list[Line] = [
        _row("asked", f"{words.clock(row.created_at_us)} by {row.actor}"),
        ((f" {'state':<{_LABEL}}", "dim"), (row.state, tone), (_attempts(job), "")),
    ]
    why = bar.wrapped(row.reason or words.UNKNOWN, max(width - _LABEL - 2, 1))
    lines += [_row("" if at else "reason", text) for at, text in enumerate(why)]
    if row.done is not None and row.state in {"running", "queued", "cancelling"}:
        full, empty = ("#", ".") if ascii_only else ("█", "░")
        drawn = progress_bar.bar(row.share, _BAR, full=full, empty=empty)
        text = (
            f"  {progress_bar.amount(row.done, row.total, row.unit)}"
            f"   {progress_bar.rate(row.rate_per_s, row.unit)}   {words.brief(row.eta_us)} left"
        )
        lines.append(((f" {row.step or '':<{_LABEL}}", "dim"), (drawn, "draw"), (text, "")))
    return lines


def _attempts(job: snapshot.Job) -> str:
    failed = f", {job.failures} of {job.max_failures} failed in a row" if job.failures else ""
    return f"   attempt {job.attempt}{failed}" if job.attempt else ""


def steps(job: snapshot.Job) -> list[Line]:
    """The steps, with how long each took."""
    lines: list[Line] = []
    for number, step in enumerate(job.steps, 1):
        state, tone = "to do", "dim"
        if step.took_us is not None:
            state, tone = f"done in {words.duration(step.took_us)}", "good"
        elif step.started and step.name == job.row.step:
            state, tone = job.row.state, "bold"
        lines.append(((f" {number}. {step.name:<{_LABEL - 3}} ", ""), (state, tone)))
    return lines or [((" not started yet", "dim"),)]


def draw(job: snapshot.Job, width: int, *, ascii_only: bool = False) -> list[Line]:
    """All of it."""
    row = job.row
    log: list[Line] = []
    for at_us, text in job.lines:
        wrapped = bar.wrapped(words.safe(text), max(width - 11, 1))
        at = words.clock(at_us)[11:19]
        log += [((f" {'' if n else at:<8} ", "dim"), (part, "")) for n, part in enumerate(wrapped)]
    lines = [
        palette.rule(width, f"JOB {row.id}", f"{row.kind} {words.safe(row.target)}"),
        *facts(job, width, ascii_only=ascii_only),
        palette.rule(width, "STEPS"),
        *steps(job),
        palette.rule(width, "LOG", "UTC"),
        *(log or [((" no lines", "dim"),)]),
    ]
    return [palette.cut(line, width) for line in lines]


class Job(Place):
    """One job."""

    where: ClassVar[str] = "job"
    hints: ClassVar = (("x", "cancel"), ("y", "copy number"))
    acts: ClassVar = ("jobs.cancel", "look.copy")

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._job: snapshot.Job | None = None
        self._top: int | None = None
        self._rows: list[Line] = []

    def body(self) -> Iterable[Widget]:
        """One block of rows that can be scrolled."""
        yield Lines(id="job")

    def wanted(self) -> Query:
        """That job."""
        return Query(place=self.where, job=self._number)

    def path(self) -> str:
        """With its number."""
        return f"pulse › jobs › {self._number}"

    def open(self, what: str) -> None:
        """Show another one from now on."""
        self._number, self._job, self._top, self._rows = int(what), None, None, []

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        found = current.job
        if found is not None and found.row.id == self._number:
            self._job = found
            self._rows = draw(found, self.size.width, ascii_only=self.program.glyphs == "ascii")
        elif not self._rows or current.missing:
            text = current.header.error or current.missing or "reading the store…"
            self._rows = [(), *bar.saying(text, "bold", self.size.width)]
        self._scroll()

    def _scroll(self) -> None:
        height = self.wide("job")[1]
        last = max(len(self._rows) - height, 0)
        top = last if self._top is None else min(self._top, last)
        self.query_one("#job", Lines).show(self._rows[top : top + height])

    def moved(self, key: str) -> bool:
        """Scroll; at the end it follows the log again."""
        height = self.wide("job")[1]
        page, last = max(height - 1, 1), max(len(self._rows) - height, 0)
        now = last if self._top is None else self._top
        tops = {
            "up": now - 1, "down": now + 1, "pageup": now - page, "pagedown": now + page,
            "home": 0, "end": last,
        }  # fmt: skip
        if key not in tops:
            return False
        top = max(tops[key], 0)
        self._top = None if top >= last else top
        self._scroll()
        return True

    def copied(self) -> str:
        """Its number."""
        return str(self._number)

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Cancel it."""
        del typed
        if name != "jobs.cancel":
            return None
        return jobs.cancelling(None if self._job is None else self._job.row)


def _row(label: str, value: str) -> Line:
    return ((f" {label:<{_LABEL}}", "dim"), (words.safe(value), ""))
