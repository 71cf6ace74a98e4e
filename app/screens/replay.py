"""One replay in full: both sides, with intervals, and the answers that differ most.

Imported by `app.screens.places`.
"""

from __future__ import annotations

from typing import ClassVar

from app import snapshot
from app.screens.scrolled import Scrolled
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.palette import Line


def draw(replay: snapshot.Replay, width: int) -> list[Line]:
    """What the command prints, row by row."""
    rows: list[Line] = [palette.rule(width, f"REPLAY {replay.row.id}", replay.row.job)]
    for line in replay.lines:
        indent = line[: len(line) - len(line.lstrip(" "))]
        wrapped = bar.wrapped(line[len(indent) :], max(width - len(indent) - 2, 1))
        rows += [((f" {indent}{each}".rstrip(), ""),) for each in wrapped]
    return rows


class Replay(Scrolled):
    """One replay."""

    where: ClassVar[str] = "replay"
    acts: ClassVar = ("look.copy",)

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def wanted(self) -> Query:
        """That replay."""
        return Query(place=self.where, replay=self._number)

    def path(self) -> str:
        """With its number."""
        return f"pulse › replays › {self._number}"

    def open(self, what: str) -> None:
        """Show another one from now on."""
        self._number, self._top, self._rows = int(what), 0, []

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        found, width = current.replay, self.size.width
        if found is not None and found.row.id == self._number:
            self._rows = draw(found, width)
        elif not self._rows or current.missing:
            text = current.header.error or current.missing or "reading the store…"
            self._rows = [(), *bar.saying(text, "bold", width)]
        self._scroll()

    def copied(self) -> str:
        """The command that prints it."""
        return f"paddock releases replays show {self._number}"
