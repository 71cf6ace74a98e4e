"""A place that lists something: a title, rows with a cursor, what is known of the row under it.

A new list says what a snapshot has for it, its rows, and the details of one; moving, filtering and
what is said while there is nothing to show are here. Never reads. Imported by the places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from app import snapshot
from app.screens import offered
from app.screens.offered import Verb
from app.screens.place import Place
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line
from app.widgets.table import Column, Row, Table

LISTED: Final = ("look.filter", "look.copy")
"""What every list offers, as help lists it."""


class Listed(Place):
    """A list with a filter; esc first ends the filter."""

    heading: ClassVar[str] = ""
    filters_at_once: ClassVar[bool] = True
    verbs: ClassVar[tuple[Verb, ...]] = ()
    """What can be done to the row under the cursor."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 0
        self._filter = self._sought = ""
        self._taken = False

    def body(self) -> Iterable[Widget]:
        """What is listed, the list, and the row under the cursor."""
        yield Lines(id="title", grows=True)
        yield Table(id="list")
        yield Lines(id="detail", grows=True)

    # What a list says of itself

    def take(self, current: snapshot.Snapshot) -> bool:
        """Keep what the snapshot has for this place; False where it has nothing."""
        raise NotImplementedError

    def columns(self) -> Sequence[Column]:
        """The columns."""
        raise NotImplementedError

    def rows(self) -> Sequence[Row]:
        """All rows."""
        raise NotImplementedError

    def caption(self) -> str:
        """What is said of all rows, at the right of the title."""
        return ""

    def matched(self, shown: int, every: int) -> str:
        """What is said instead of the caption while rows are filtered."""
        return f"{shown} of {every}"

    def unmatched(self) -> str:
        """What is said where no row passes the filter."""
        return f"no row contains “{self._filter}”; esc shows all of them"

    def empty(self) -> str:
        """What is said where there is no row, with the command that makes one."""
        raise NotImplementedError

    def detail(self, width: int) -> list[Line]:
        """What is known of the row under the cursor."""
        del width
        return []

    # What all lists do

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the list."""
        if self.take(current):
            self._taken, self.now_us = True, current.header.now_us
            self.draw_list()
            return
        said = current.header.error or ("" if self._taken else "reading the store…")
        if said:
            self.query_one("#title", Lines).show(bar.saying(said, "bold", self.size.width))

    def draw_list(self) -> None:
        """Draw what was taken last, with the filter that there is now."""
        if not self._taken:
            return
        every = self.rows()
        shown = [row for row in every if self._passes(row)]
        named, about = self.heading, self.caption()
        if self._filter:
            named += f" containing “{self._filter}”"
            about = self.matched(len(shown), len(every))
        title = palette.rule(self.size.width, named, about)
        self.query_one("#title", Lines).show([title])
        if self._sought and any(row.key == self._sought for row in shown):
            self.query_one(Table).cursor, self._sought = self._sought, ""
        self.query_one(Table).show_table(
            self.columns(), shown, self.unmatched() if self._filter else self.empty()
        )
        self.draw_detail()

    def draw_detail(self) -> None:
        """Draw what is known of the row under the cursor, and the keys."""
        width = self.size.width
        rows = [
            *self.detail(width),
            *offered.rows(self.program, self.offers(), self.offer, width),
        ]
        self.query_one("#detail", Lines).show([palette.cut(each, width) for each in rows])

    def offers(self) -> Sequence[Verb]:
        """The verbs, where they depend on the row under the cursor."""
        return self.verbs

    def _passes(self, row: Row) -> bool:
        """Whether every word of the filter is somewhere in the row."""
        text = " ".join((row.key, *(cell for cell, _ in row.cells))).lower()
        return all(word in text for word in self._filter.lower().split())

    @property
    def cursor(self) -> str | None:
        """The key of the row under the cursor."""
        return self.query_one(Table).cursor

    def moved(self, key: str) -> bool:
        """Move the cursor."""
        if not self.query_one(Table).key(key):
            return False
        self.draw_detail()
        return True

    def open(self, what: str) -> None:
        """Put the cursor on the row with this key, as soon as there is one."""
        self._filter, self._sought = "", what

    def copied(self) -> str:
        """The key of the row under the cursor."""
        return self.cursor or ""

    def filtered(self, text: str | None = None) -> str:
        """The text that rows contain."""
        if text is not None and text != self._filter:
            self._filter = text
            self.draw_list()
        return self._filter

    def back(self) -> bool:
        """First the filter goes."""
        if not self._filter:
            return False
        self.filtered("")
        return True
