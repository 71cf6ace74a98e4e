"""Runs of runbooks, newest first, then the runbooks that can be started; enter opens a run.

Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens import walking
from app.screens.listed import LISTED, Listed
from app.screens.offered import Verb
from app.screens.place import Offer
from app.widgets import bar, palette
from app.widgets.palette import Line
from app.widgets.table import Column, Row

COLUMNS: Final = (
    Column(title="RUN", width=5, right=True),
    Column(title="RUNBOOK", width=18, most=24),
    Column(title="STATE", width=8),
    Column(title="STEP", width=11, most=16),
    Column(title="TAKEN BY", width=9, most=16),
    Column(title="ABOUT", width=20, most=80),
)
_TONES: Final = {"waiting": "warn", "running": "good", "failed": "bad", "aborted": "dim"}


def run_row(run: snapshot.RunRow) -> Row:
    """A run as a row."""
    about = run.inputs if run.open else run.reason
    return Row(
        f"run {run.id}",
        (
            (str(run.id), "bold"),
            (words.safe(run.runbook), ""),
            (run.state, _TONES.get(run.state, "")),
            (run.waits_at or words.UNKNOWN, ""),
            (words.safe(run.taken_by if run.open else run.actor), ""),
            (words.safe(about), "dim"),
        ),
    )


def book_row(book: snapshot.BookRow) -> Row:
    """A runbook as a row."""
    broken = ("broken", "bad") if book.broken else ("", "")
    return Row(
        f"book {book.name}",
        (
            (words.UNKNOWN, "dim"),
            (words.safe(book.name), "bold"),
            broken,
            (f"{book.steps} steps", "dim"),
            ("", ""),
            (words.safe(book.broken or book.title), "dim"),
        ),
    )


class Runbooks(Listed):
    """The list."""

    where: ClassVar[str] = "runbooks"
    hints: ClassVar = (("enter", "open"), ("n", "start"))
    acts: ClassVar = ("look.open", "runbooks.start", "runbooks.undo", *LISTED)
    twins: ClassVar = {"look.open": "runbooks get RUN"}
    heading: ClassVar[str] = "RUNBOOKS"

    def __init__(self) -> None:
        super().__init__()
        self._shown = snapshot.Runbooks()

    def take(self, current: snapshot.Snapshot) -> bool:
        """Runs and runbooks."""
        if current.runbooks is None:
            return False
        self._shown = current.runbooks
        return True

    def columns(self) -> Sequence[Column]:
        """What each run waits for, and who has it."""
        return COLUMNS

    def rows(self) -> Sequence[Row]:
        """The runs that have not ended, the runbooks, the runs that have."""
        runs = self._shown.runs
        return [
            *(run_row(run) for run in runs if run.open),
            *(book_row(book) for book in self._shown.books),
            *(run_row(run) for run in runs if not run.open),
        ]

    def caption(self) -> str:
        """How many runs wait."""
        return f"{sum(run.open for run in self._shown.runs)} runs have not ended"

    def empty(self) -> str:
        """There are always the shipped ones."""
        return "no runbooks"

    def detail(self, width: int) -> list[Line]:
        """When a runbook is for, or what became of a run."""
        book, run = self._book(), self._run()
        if run is not None:
            said = f"{words.clock(run.began_at_us)} by {run.actor}"
            head = palette.rule(width, f"RUN {run.id}  {words.safe(run.runbook)}", said)
            return [head, ((f" {words.safe(run.inputs)}", "dim"),)]
        if book is None:
            return []
        asked = [f"{name}: {sentence}" for name, sentence, _ in book.inputs]
        rows: list[Line] = [palette.rule(width, words.safe(book.name), words.safe(book.title))]
        rows += [((f" {each}", ""),) for each in bar.wrapped(words.safe(book.when), width - 2)]
        return rows + [((f" {words.safe(each)}", "dim"),) for each in asked[:4]]

    def offers(self) -> Sequence[Verb]:
        """A runbook is started, a run undone."""
        if self._book() is not None:
            return (walking.START,)
        return [verb for verb in walking.VERBS if verb.name == "runbooks.undo"]

    def _run(self) -> snapshot.RunRow | None:
        return next((run for run in self._shown.runs if f"run {run.id}" == self.cursor), None)

    def _book(self) -> snapshot.BookRow | None:
        found = (book for book in self._shown.books if f"book {book.name}" == self.cursor)
        return next(found, None)

    def opened(self) -> tuple[str, str] | None:
        """The run under the cursor."""
        run = self._run()
        return None if run is None else ("run", str(run.id))

    def copied(self) -> str:
        """The number of a run, the name of a runbook."""
        return (self.cursor or "").partition(" ")[2]

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Start the runbook under the cursor, or undo the run."""
        if name == "runbooks.start":
            return walking.start(self._book(), typed)
        return walking.offer(name, self._run()) if name == "runbooks.undo" else None
