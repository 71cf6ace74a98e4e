"""One incident in full: who works on it, its impact, what changed before it, its timeline.

Imported by `app.screens.places`.
"""

from __future__ import annotations

from typing import ClassVar

from app import snapshot
from app.screens import handling, incidents, offered
from app.screens.place import Offer
from app.screens.scrolled import Scrolled
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.palette import Line


def draw(incident: snapshot.Incident, width: int) -> list[Line]:
    """Its facts, then its timeline, oldest first."""
    row = incident.row
    rows: list[Line] = [
        palette.rule(width, f"{row.name}  {row.title}", f"{row.severity} {row.state}")
    ]
    rows += [palette.cut(((f" {line}", ""),), width) for line in incident.lines]
    rows.append(palette.rule(width, "TIMELINE", "UTC"))
    rows += [incidents.event(each, width) for each in incident.timeline]
    return rows


class Incident(Scrolled):
    """One incident."""

    where: ClassVar[str] = "incident"
    hints: ClassVar = (("N", "note"), ("f", "stable"), ("x", "close"))
    acts: ClassVar = (*handling.NAMES, "look.copy")

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._row: snapshot.IncidentRow | None = None
        self._person = ""

    def wanted(self) -> Query:
        """That incident."""
        return Query(place=self.where, incident=self._number)

    def path(self) -> str:
        """With its name."""
        return f"pulse › incidents › INC-{self._number}"

    def open(self, what: str) -> None:
        """Show another one from now on."""
        self._number, self._top, self._rows, self._row = int(what), 0, [], None

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        found, width = current.incident, self.size.width
        self._person = current.header.person.name
        if found is not None and found.row.id == self._number:
            self._row = found.row
            verbs = offered.rows(self.program, handling.VERBS, self.offer, width)
            self._rows = [*draw(found, width), palette.rule(width), *verbs]
        elif not self._rows or current.missing:
            text = current.header.error or current.missing or "reading the store…"
            self._rows = [(), *bar.saying(text, "bold", width)]
        self._scroll()

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Act on it."""
        if name == handling.OPEN.name:
            return None
        return handling.offer(name, self._row, self._person, typed)

    def copied(self) -> str:
        """The command that prints its post-mortem."""
        return f"paddock incidents post-mortem INC-{self._number}"
