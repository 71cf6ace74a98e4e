"""Rows of text that write to the terminal only the cells that changed.

Foreign text cannot harm: every piece passes `words.safe` here. A widget of rows
knows nothing of the store and never starts a timer. Imported by screens and the other widgets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from app import words
from app.widgets import palette
from app.widgets.palette import Line

_BRIDGE: Final = 6  # unchanged cells that are cheaper to write again than to jump over

Cell = tuple[str, str]
_CONTINUED: Final = ""  # the second cell of a wide character


def cells(line: Line, width: int) -> list[Cell]:
    """The row cell by cell, cut as it is drawn, or filled to its width."""
    found: list[Cell] = []
    for piece, name in palette.cut(line, width):
        if piece.isascii():
            found += [(character, name) for character in piece]
            continue
        for character in piece:
            taken = words.width(character)
            if taken == 0 and found:  # a combining mark
                found[-1] = (found[-1][0] + character, found[-1][1])
            elif taken:
                found += [(character, name)] + [(_CONTINUED, name)] * (taken - 1)
    found += [(" ", "")] * (width - len(found))
    return found[:width]


def changes(old: Line, new: Line, width: int) -> Iterator[tuple[int, int]]:
    """The spans of cells, as (from, to), in which two rows differ."""
    if old == new:
        return
    begin = end = -1
    for at, (before, after) in enumerate(zip(cells(old, width), cells(new, width), strict=True)):
        if before == after:
            continue
        if begin >= 0 and at - end > _BRIDGE:
            yield begin, end
            begin = at
        if begin < 0:
            begin = at
        end = at + 1
    if begin >= 0:
        yield begin, end


def cleaned(line: Line) -> Line:
    """The row with nothing in it that a terminal would obey."""
    return tuple((words.safe(piece), name) for piece, name in line if piece)


class Lines(Widget):
    """A block of rows."""

    DEFAULT_CSS = "Lines { width: 1fr; height: auto; }"

    ALLOW_SELECT = False

    class Resized(Message):
        """It has another size, and what it shows may have to be drawn for that."""

    def __init__(self, *, id: str | None = None, grows: bool = False) -> None:
        super().__init__(id=id, markup=False)
        self._rows: list[Line] = []
        self._grows = grows  # its height follows its rows
        self._wide = 0

    def show(self, rows: Sequence[Line]) -> None:
        """Draw these rows; only what changed is written."""
        fresh = [cleaned(row) for row in rows]
        before, self._rows = self._rows, fresh
        if self._grows and len(fresh) != len(before):
            self.styles.height = len(fresh)
            self.refresh(layout=True)
            return
        width = self.size.width
        if width != self._wide:  # never drawn at this width
            self._wide = width
            self.refresh()
            return
        for y in range(min(max(len(before), len(fresh)), self.size.height)):
            old = before[y] if y < len(before) else ()
            new = fresh[y] if y < len(fresh) else ()
            regions = [Region(x, y, to - x, 1) for x, to in changes(old, new, width)]
            if regions:
                self.refresh(*regions)

    def on_resize(self, event: events.Resize) -> None:
        """Report it to the place."""
        del event
        self.post_message(self.Resized())

    @property
    def text(self) -> str:
        """What it says, without inks."""
        return "\n".join(palette.text(row).rstrip() for row in self._rows)

    def render_line(self, y: int) -> Strip:
        """One row as the compositor wants it."""
        width = self.size.width
        row = self._rows[y] if y < len(self._rows) else ()
        colour = not self.app.no_color
        ascii_only = bool(getattr(self.app, "ascii_only", False))
        segments: list[Segment] = []
        taken = 0
        for piece, name in palette.cut(row, width):
            shown = palette.plain(piece) if ascii_only else piece
            segments.append(Segment(shown, palette.style(name, colour=colour)))
            taken += words.width(shown)
        if taken < width:
            segments.append(Segment(" " * (width - taken)))
        return Strip(segments, max(taken, width))
