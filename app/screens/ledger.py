"""The ledger, newest first: who changed what and why; below, the entry under the cursor in full.

At the end of the list older entries are asked for. Imported by `app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens.listed import LISTED
from app.screens.numbered import Numbered
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row, Table

_STEP: Final = 200
_MOST: Final = 2_000
_NAMED: Final = 7
_LOW: Final = 30  # rows of a terminal in which the list needs the room
_VALUE: Final = 2  # rows of a value below the list
_VALUE_ROOMY: Final = 6

COLUMNS: Final = (
    Column(title="ENTRY", width=6, right=True),
    Column(title="AT", width=11),
    Column(title="WHO", width=8, most=16),
    Column(title="DID", width=15, most=24),
    Column(title="TO", width=16, most=40),
    Column(title="REASON", width=12, most=80),
)


def row(entry: snapshot.LedgerRow) -> Row:
    """One entry as a row."""
    cells: tuple[Piece, ...] = (
        (str(entry.id), "bold"),
        (words.clock(entry.at_us)[5:16], "dim"),
        (entry.actor, ""),
        (entry.verb, ""),
        (f"{entry.noun} {entry.key}", ""),
        (entry.reason, "dim"),
    )
    return Row(str(entry.id), cells)


def detail(entry: snapshot.LedgerRow, width: int, most: int) -> list[Line]:
    """The moment, the intent, and reason and values, each in at most so many rows."""
    asked = "" if entry.intent_id is None else f" by intent {entry.intent_id}"
    at = f"{words.clock(entry.at_us)}{asked}"
    found: list[Line] = [
        palette.rule(width, f"{entry.id}  {entry.verb}  {words.safe(entry.key)}", at)
    ]
    for name, value in (
        ("reason", entry.reason), ("before", entry.before), ("after", entry.after),
    ):  # fmt: skip
        said = bar.wrapped(words.safe(value) or words.UNKNOWN, max(width - _NAMED - 3, 1))
        if len(said) > most:
            said = [*said[: most - 1], f"{said[most - 1][:-1]}…"]
        for number, each in enumerate(said):
            label = name if number == 0 else ""
            found.append(((f" {label:<{_NAMED}} ", "dim"), (each, "")))
    return found


class Ledger(Numbered[snapshot.LedgerRow]):
    """The list."""

    where: ClassVar[str] = "ledger"
    hints: ClassVar = (("slash", "filter"),)
    acts: ClassVar = LISTED
    heading: ClassVar[str] = "LEDGER"

    def __init__(self) -> None:
        super().__init__()
        self._limit = _STEP
        self._more = False
        self._searched = ""  # the filter that the entries were read with

    def wanted(self) -> Query:
        """The newest entries that pass the filter."""
        return Query(place=self.where, filter=self._filter, limit=self._limit)

    def listed(self, current: snapshot.Snapshot) -> Sequence[snapshot.LedgerRow] | None:
        """The entries."""
        if current.ledger is None:
            return None
        self._more, self._searched = current.ledger.more, current.ledger.filter
        return current.ledger.rows

    def columns(self) -> Sequence[Column]:
        """Who did what, when and why."""
        return COLUMNS

    def row(self, each: snapshot.LedgerRow) -> Row:
        """One entry."""
        return row(each)

    def caption(self) -> str:
        """How many there are, or how many of them are shown."""
        return self.matched(len(self.shown), len(self.shown))

    def matched(self, shown: int, every: int) -> str:
        """As the caption; older entries are found by the next read."""
        del every
        if self._searched != self._filter:
            return f"UTC · searching, {shown} so far"
        return f"UTC · {'newest' if self._more else 'all'} {shown}"

    def unmatched(self) -> str:
        """That older entries are still searched, or that none contains the filter."""
        if self._searched != self._filter:
            return f"searching the ledger for “{self._filter}”"
        return f"no entry contains “{self._filter}”; esc shows all of them"

    def empty(self) -> str:
        """When there will be one."""
        return "no change has been made yet"

    def moved(self, key: str) -> bool:
        """Move the cursor; at the end, older entries are asked for."""
        before = self.query_one(Table).index
        if not super().moved(key):
            return False
        at_end = key in {"down", "pagedown", "end"} and before == self.query_one(Table).index
        if at_end and self._more:
            self._limit = min(self._limit + _STEP, _MOST)
        return True

    def filtered(self, text: str | None = None) -> str:
        """The text that entries contain; the store is searched for it."""
        if text is not None and text != self._filter:
            self._limit = _STEP
        return super().filtered(text)

    def detail(self, width: int) -> list[Line]:
        """The entry under the cursor."""
        found, roomy = self.under(), self.size.height >= _LOW
        most = _VALUE_ROOMY if roomy else _VALUE
        return [] if found is None else detail(found, width, most)
