"""The jobs, newest first, with how far each is; enter opens one, `x` cancels it.

Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from app import progress_bar, snapshot, words
from app.screens.place import Offer, Place
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Piece
from app.widgets.table import Column, Row, Table

_BAR: Final = 12
_OPEN: Final = frozenset({"queued", "running", "cancelling"})
_TONES: Final = {"running": "good", "failed": "bad", "cancelling": "warn", "cancelled": "dim"}
_SIGNS: Final = {"running": "● ", "failed": "▲ ", "queued": "○ ", "cancelling": "○ "}
_NOT_OPEN: Final = {
    "cancelling": "is being cancelled",
    "cancelled": "was cancelled",
    "failed": "has failed",
    "succeeded": "has succeeded",
}

COLUMNS: Final = (
    Column(title="JOB", width=5, right=True),
    Column(title="KIND", width=10, rank=3, most=16),
    Column(title="TARGET", width=12, most=28),
    Column(title="STATE", width=12),
    Column(title="STEP", width=8, most=12),
    Column(title="PROGRESS", width=_BAR + 5),
    Column(title="LEFT", width=7, right=True),
    Column(title="RATE", width=10, right=True, rank=2),
    Column(title="BY", width=8, rank=4, most=16),
    Column(title="RESULT", width=12, rank=1, most=80),
)


def row(job: snapshot.JobRow, *, ascii_only: bool = False) -> Row:
    """One job as a row."""
    tone = _TONES.get(job.state, "")
    cells: tuple[Piece, ...] = (
        (str(job.id), "bold"),
        (job.kind, ""),
        (job.target, ""),
        (_SIGNS.get(job.state, "") + job.state, tone),
        (job.step if job.state in _OPEN else words.UNKNOWN, ""),
        (progress(job, ascii_only=ascii_only), "draw" if job.state in _OPEN else "dim"),
        (words.brief(job.eta_us), ""),
        (progress_bar.rate(job.rate_per_s, job.unit), "dim"),
        (job.actor, ""),
        (job.reason, "bad" if job.state == "failed" else "dim"),
    )
    return Row(str(job.id), cells)


def progress(job: snapshot.JobRow, *, ascii_only: bool = False) -> str:
    """The bar of a job that counts, with its percentage; a dash for one that does not."""
    if job.share is None or job.state not in _OPEN:
        return words.UNKNOWN
    full, empty = ("#", ".") if ascii_only else ("█", "░")
    drawn = progress_bar.bar(job.share, _BAR, full=full, empty=empty)
    return f"{drawn} {int(job.share * 100):>3}%"


def cancelling(job: snapshot.JobRow | None) -> Offer:
    """What cancelling a job would do."""
    if job is None:
        return Offer(unable="there is no job under the cursor")
    if job.state not in {"queued", "running"}:
        return Offer(unable=f"job {job.id} {_NOT_OPEN.get(job.state, f'is {job.state}')}")
    what = f"job {job.id} ({job.kind} {words.safe(job.target)})"
    half = "; what has arrived is removed" if job.state == "running" else ""
    return Offer(target=str(job.id), effect=f"cancel {what}{half}")


class Jobs(Place):
    """The list."""

    where: ClassVar[str] = "jobs"
    hints: ClassVar = (("enter", "open"), ("x", "cancel"))

    def __init__(self) -> None:
        super().__init__()
        self._shown: Sequence[snapshot.JobRow] = ()

    def body(self) -> Iterable[Widget]:
        """What is listed, and the list."""
        yield Lines(id="title", grows=True)
        yield Table(id="list")

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the list."""
        if current.jobs is None:
            said = current.header.error or ("" if self._shown else "reading the store…")
            if said:
                self.query_one("#title", Lines).show(bar.saying(said, "bold", self.size.width))
            return
        self._shown = current.jobs
        unfinished = sum(job.state in _OPEN for job in self._shown)
        title = palette.rule(self.size.width, "JOBS", f"{unfinished} unfinished")
        self.query_one("#title", Lines).show([title])
        ascii_only = self.program.glyphs == "ascii"
        self.query_one(Table).show_table(
            COLUMNS,
            [row(job, ascii_only=ascii_only) for job in self._shown],
            "no jobs yet: `paddock models add` makes one",
        )

    def moved(self, key: str) -> bool:
        """Move the cursor."""
        return self.query_one(Table).key(key)

    def opened(self) -> tuple[str, str] | None:
        """The job under the cursor."""
        cursor = self.query_one(Table).cursor
        return ("job", cursor) if cursor else None

    def copied(self) -> str:
        """The number of the job under the cursor."""
        return self.query_one(Table).cursor or ""

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Cancel the job under the cursor."""
        del typed
        if name != "jobs.cancel":
            return None
        cursor = self.query_one(Table).cursor
        return cancelling(next((job for job in self._shown if str(job.id) == cursor), None))
