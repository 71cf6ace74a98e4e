"""Incidents, newest first; below the list what is known of the one under the cursor.

Enter opens it with its timeline. Imported by `app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens import handling
from app.screens.listed import LISTED
from app.screens.numbered import Numbered
from app.screens.place import Offer
from app.snapshot import Query
from app.widgets import palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_NEWEST: Final = 4  # events below the list; enter shows all of them

COLUMNS: Final = (
    Column(title="INCIDENT", width=9),
    Column(title="STATE", width=8),
    Column(title="SEV", width=5),
    Column(title="SERVICE", width=10, most=24),
    Column(title="LASTED", width=9, right=True),
    Column(title="COMMANDER", width=10, most=16),
    Column(title="TITLE", width=20, most=90),
)


def row(incident: snapshot.IncidentRow, now_us: int) -> Row:
    """One incident as a row."""
    tone = "bad" if incident.active else "warn" if not incident.closed else "dim"
    until = now_us if incident.until_us is None else incident.until_us
    cells: tuple[Piece, ...] = (
        (incident.name, "bold"),
        (f"{'▲ ' if incident.active else ''}{incident.state}", tone),
        (incident.severity, "" if not incident.closed else "dim"),
        (incident.service or "whole box", ""),
        (words.brief(max(until - incident.began_at_us, 0)), "dim"),
        (incident.commander or words.UNKNOWN, ""),
        (incident.title, "dim" if incident.closed else ""),
    )
    return Row(str(incident.id), cells)


def detail(shown: snapshot.Incident, width: int) -> list[Line]:
    """Facts, impact, and the newest events."""
    found: list[Line] = [palette.rule(width, f"{shown.row.name}  {shown.row.title}", "enter: all")]
    found += [((f" {line}", ""),) for line in shown.lines]
    found += [event(each, width) for each in shown.timeline[-_NEWEST:]]
    return found


def event(happened: tuple[int, str, str], width: int) -> Line:
    """A line of the timeline."""
    at_us, actor, sentence = happened
    line = (
        (f" {words.clock(at_us)[11:19]} ", "dim"),
        (f"{words.cut(words.safe(actor), 12)}  ", "bold"),
        (words.safe(sentence), ""),
    )
    return palette.cut(line, width)


class Incidents(Numbered[snapshot.IncidentRow]):
    """The list."""

    where: ClassVar[str] = "incidents"
    hints: ClassVar = (("enter", "open"), ("n", "new"), ("N", "note"))
    acts: ClassVar = ("look.open", "incidents.open", *handling.NAMES, *LISTED)
    twins: ClassVar = {"look.open": "incidents show INC-1"}
    heading: ClassVar[str] = "INCIDENTS"
    verbs: ClassVar = handling.VERBS

    opens: ClassVar[str] = "incident"

    def __init__(self) -> None:
        super().__init__()
        self._full: snapshot.Incident | None = None
        self._person = ""

    def wanted(self) -> Query:
        """The incident under the cursor in full."""
        return Query(place=self.where, incident=int(self.cursor or 0) if self.ready else 0)

    def listed(self, current: snapshot.Snapshot) -> Sequence[snapshot.IncidentRow] | None:
        """The incidents, and the one that was read in full."""
        self._person = current.header.person.name
        if (found := current.incidents) is None:
            return None
        self._full = found.shown
        return found.rows

    def columns(self) -> Sequence[Column]:
        """How far each is, and who leads it."""
        return COLUMNS

    def row(self, each: snapshot.IncidentRow) -> Row:
        """One incident."""
        return row(each, self.now_us)

    def caption(self) -> str:
        """How many are active."""
        return f"{sum(each.active for each in self.shown)} active"

    def empty(self) -> str:
        """How one is opened."""
        return (
            "no incidents: a critical alert opens one, and so does n, or `paddock incidents open`"
        )

    def detail(self, width: int) -> list[Line]:
        """The incident that was read in full."""
        return [] if self._full is None else detail(self._full, width)

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Open one, or act on the one under the cursor."""
        return handling.offer(name, self.under(), self._person, typed)

    def copied(self) -> str:
        """The command that prints its post-mortem."""
        found = self.under()
        return "" if found is None else f"paddock incidents post-mortem {found.name}"
