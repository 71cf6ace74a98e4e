"""A table that ticks: rows with keys, a cursor that stays with its row, only changed cells written.

The cursor belongs to a key, never to a place on the screen: rows that come and go above it can
not put another row under it. It sorts nothing and reads nothing. Imported by screens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app import words
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line, Piece

GAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its title, its cells, and how soon it goes where there is no room for all."""

    title: str
    width: int
    right: bool = False
    rank: int = 0  # the highest goes first; without a rank it stays
    most: int = 0  # takes what is left over, up to so many cells


@dataclass(frozen=True, slots=True)
class Row:
    """A row by its key; one piece for each column."""

    key: str
    cells: tuple[Piece, ...]


def fitted(columns: Sequence[Column], width: int) -> list[tuple[int, Column, int]]:
    """The columns that are shown: position among all, column, cells."""
    shown = list(enumerate(columns))
    spare = width - 1 - sum(column.width for column in columns) - GAP * (len(columns) - 1)
    for at, column in sorted(shown, key=lambda each: -each[1].rank):
        if spare >= 0 or not column.rank:
            break
        shown.remove((at, column))
        spare += column.width + GAP
    growing = [at for at, column in shown if column.most]
    each = max(spare, 0) // len(growing) if growing else 0
    return [
        (at, column, max(min(column.width + each, column.most), column.width))
        for at, column in shown
    ]


def head(columns: Sequence[Column], width: int) -> Line:
    """The titles."""
    parts = [
        words.pad(column.title, cells, right=column.right)
        for _, column, cells in fitted(columns, width)
    ]
    return ((" " + (" " * GAP).join(parts), "dim"),)


def body(columns: Sequence[Column], row: Row, width: int, mark: str = " ") -> Line:
    """One row."""
    pieces: list[Piece] = [(mark, "")]
    for number, (at, column, cells) in enumerate(fitted(columns, width)):
        text, name = row.cells[at]
        gap = " " * GAP if number else ""
        filled = words.pad(words.safe(text), cells, right=column.right)
        if gap:
            pieces.append((gap, ""))
        pieces.append((filled, name))
    return tuple(pieces)


class Table(Lines):
    """A table with a cursor."""

    DEFAULT_CSS = "Table { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns: Sequence[Column] = ()
        self._table: list[Row] = []
        self._top = 0
        self._empty = ""
        self.cursor: str | None = None

    def show_table(self, columns: Sequence[Column], rows: Sequence[Row], empty: str) -> None:
        """Draw the rows; `empty` is the sentence for when there are none."""
        at = self.index
        self._columns, self._table, self._empty = columns, list(rows), empty
        keys = [row.key for row in rows]
        if self.cursor not in keys:  # it has gone: the cursor stays near
            self.cursor = keys[min(at, len(keys) - 1)] if keys else None
        self.draw()

    @property
    def index(self) -> int:
        """The index of the cursor's row; 0 when there is none."""
        found = (at for at, row in enumerate(self._table) if row.key == self.cursor)
        return next(found, 0)

    @property
    def keys(self) -> list[str]:
        """The keys of all rows, in order."""
        return [row.key for row in self._table]

    @property
    def page(self) -> int:
        """How many rows are seen at once."""
        return max(self.size.height - 1, 1)

    def move(self, by: int) -> bool:
        """Move the cursor; False when it is at the end already."""
        if not self._table:
            return False
        before = self.index
        after = min(max(before + by, 0), len(self._table) - 1)
        self.cursor = self._table[after].key
        self.draw()
        return after != before

    def key(self, key: str) -> bool:
        """Move by a key; whether it was one that moves."""
        steps = {
            "up": -1,
            "down": 1,
            "pageup": -self.page,
            "pagedown": self.page,
            "home": -len(self._table),
            "end": len(self._table),
        }
        if key not in steps:
            return False
        self.move(steps[key])
        return True

    def draw(self) -> None:
        """Draw at the widget's size, with the cursor in sight."""
        width = self.size.width
        if not width or not self.size.height:
            return
        if not self._table:
            self.show([head(self._columns, width), (), *bar.saying(self._empty, "dim", width)])
            return
        at = self.index
        self._top = min(self._top, max(len(self._table) - self.page, 0), at)
        self._top = max(self._top, at - self.page + 1)
        rows = [head(self._columns, width)]
        for number, row in enumerate(self._table[self._top : self._top + self.page], self._top):
            line = body(self._columns, row, width, "▸" if number == at else " ")
            if number == at:
                fill = " " * max(width - palette.length(line), 0)
                line = palette.over((*line, (fill, "")), "cursor")
            rows.append(line)
        self.show(rows)
