"""The jobs, newest first, with how far each is; enter opens one, `x` cancels it.

Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import progress_bar, snapshot, words
from app.screens.listed import LISTED
from app.screens.numbered import Numbered
from app.screens.offered import Verb
from app.screens.place import Offer
from app.widgets import bar, palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_BAR: Final = 12
_RESULT: Final = 3  # rows of a reason below the list; the job in full has all of it
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


def detail(job: snapshot.JobRow, width: int) -> list[Line]:
    """What a job is about, and why it waits or how it ended, in full."""
    asked = f"{words.clock(job.created_at_us)} by {job.actor}"
    rows: list[Line] = [palette.rule(width, f"{job.id}  {job.kind}  {job.target}", asked)]
    said = bar.wrapped(words.safe(job.reason), max(width - 2, 1)) if job.reason else []
    tone = "bad" if job.state == "failed" else ""
    return rows + [((f" {each}", tone),) for each in said[:_RESULT]]


class Jobs(Numbered[snapshot.JobRow]):
    """The list."""

    where: ClassVar[str] = "jobs"
    hints: ClassVar = (("enter", "open"), ("x", "cancel"))
    acts: ClassVar = ("look.open", "jobs.cancel", *LISTED)
    twins: ClassVar = {"look.open": "jobs show JOB"}
    heading: ClassVar[str] = "JOBS"
    verbs: ClassVar = (Verb("jobs.cancel", "x", "cancel"),)
    opens: ClassVar[str] = "job"

    def listed(self, current: snapshot.Snapshot) -> Sequence[snapshot.JobRow] | None:
        """The jobs."""
        return current.jobs

    def columns(self) -> Sequence[Column]:
        """What each does, and how far it is."""
        return COLUMNS

    def row(self, each: snapshot.JobRow) -> Row:
        """One job."""
        return row(each, ascii_only=self.program.glyphs == "ascii")

    def caption(self) -> str:
        """How many are to be done."""
        return f"{sum(job.state in _OPEN for job in self.shown)} unfinished"

    def empty(self) -> str:
        """What makes one."""
        return "no jobs yet: `paddock models add` makes one"

    def detail(self, width: int) -> list[Line]:
        """The job under the cursor."""
        job = self.under()
        return [] if job is None else detail(job, width)

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Cancel the job under the cursor."""
        del typed
        return cancelling(self.under()) if name == "jobs.cancel" else None
