"""Alerts, silences, maintenance windows, receivers and rules as one list; what fires comes first.

Below it what is known of the row under the cursor. Enter goes where the work on an alert is: to its
incident, or to its runbook. Imported by `app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens import silencing
from app.screens.listed import LISTED, Listed
from app.screens.offered import Verb
from app.screens.place import Offer
from app.snapshot import Query
from app.snapshot.alerts import AlertRow, Of, Tone
from app.widgets import bar, palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_NAMED: Final = 11
_LOW: Final = 30  # rows of a terminal in which the list needs the room
_FACTS: Final = 7
_NEWEST: Final = 2  # facts at the end that are always shown: the last moves

COLUMNS: Final = (
    Column(title="WHAT", width=10),
    Column(title="NAME", width=20, most=40),
    Column(title="ABOUT", width=10, most=30),
    Column(title="SEVERITY", width=8),
    Column(title="STATE", width=15, most=34),
    Column(title="SINCE", width=6, right=True),
)

_INKS: Final = {Tone.BAD: "bad", Tone.WARN: "warn", Tone.QUIET: "dim", Tone.PLAIN: ""}


def row(each: AlertRow, now_us: int) -> Row:
    """One row: an alert, a silence, a receiver or a rule."""
    ink = _INKS[each.tone]
    sign = "▲ " if each.tone in {Tone.BAD, Tone.WARN} else ""
    number = each.name if each.of in {Of.ALERT, Of.SILENCE, Of.WINDOW} else ""
    cells: tuple[Piece, ...] = (
        (f"{each.of.value} {number}".strip(), "dim"),
        (each.title, "bold" if each.of is not Of.RULE else ""),
        (each.about or words.UNKNOWN, "dim" if each.tone is Tone.QUIET else ""),
        (each.severity, ink if each.of is Of.ALERT else "dim"),
        (f"{sign}{each.state}", ink),
        (_age(each, now_us), "dim"),
    )
    return Row(each.key, cells)


def _age(each: AlertRow, now_us: int) -> str:
    """Since when; of a silence how long it still lasts."""
    if each.at_us is None:
        return ""
    if each.of in {Of.SILENCE, Of.WINDOW}:
        return f"-{words.brief(max(each.at_us - now_us, 0))}"
    return words.age(max(now_us - each.at_us, 0))


def detail(shown: snapshot.Alerts, width: int, most: int) -> list[Line]:
    """What is known of one; of more facts than fit the first ones and the last ones."""
    facts = shown.lines
    if len(facts) > most:
        facts = (*facts[: most - _NEWEST], *facts[-_NEWEST:])
    found: list[Line] = [palette.rule(width, shown.shown)]
    for name, value in facts:
        first, *others = bar.wrapped(value, max(width - _NAMED - 2, 1))
        label = name[5:16] if name[:4].isdecimal() else name  # a moment without its year
        found.append(((f" {label:<{_NAMED}} ", "dim"), (first, "")))
        found += [((f" {'':<{_NAMED}} {other}", ""),) for other in others[:1]]
    return found


class Alerts(Listed):
    """The list."""

    where: ClassVar[str] = "alerts"
    hints: ClassVar = (("enter", "incident"), ("n", "runbook"), ("A", "ack"), ("Z", "silence"))
    acts: ClassVar = ("look.open", *silencing.NAMES, *LISTED)
    twins: ClassVar = {"look.open": "alerts get ALERT"}
    heading: ClassVar[str] = "ALERTS"

    def __init__(self) -> None:
        super().__init__()
        self._seen = snapshot.Alerts(rows=())

    def wanted(self) -> Query:
        """What is known of the row under the cursor, too."""
        return Query(place=self.where, alert=self.cursor or "" if self.ready else "")

    def take(self, current: snapshot.Snapshot) -> bool:
        """The rows."""
        if current.alerts is None:
            return False
        self._seen = current.alerts
        return True

    def columns(self) -> Sequence[Column]:
        """Of what kind each is, and how it does."""
        return COLUMNS

    def rows(self) -> Sequence[Row]:
        """One for each alert, silence, receiver and rule."""
        return [row(each, self.now_us) for each in self._seen.rows]

    def caption(self) -> str:
        """How many alerts fire."""
        return f"{self._seen.firing} firing" if self._seen.firing else "no alert fires"

    def empty(self) -> str:
        """Where rules come from."""
        return "no rule is in force: `paddock alerts rules set FILE`, or `rules reset NAME`"

    def detail(self, width: int) -> list[Line]:
        """What was read of the row under the cursor."""
        if self._seen.shown != self.cursor:
            return [palette.rule(width, self.cursor or "")]
        most = _FACTS if self.size.height < _LOW else 2 * _FACTS
        return detail(self._seen, width, most)

    def offers(self) -> Sequence[Verb]:
        """What can be done to it."""
        return silencing.verbs(self._under())

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Act on the row under the cursor."""
        return silencing.offer(name, self._under(), self.now_us, typed)

    def _under(self) -> AlertRow | None:
        return next((each for each in self._seen.rows if each.key == self.cursor), None)

    def opened(self) -> tuple[str, str] | None:
        """The incident of the alert under the cursor, else its runbook or that of the rule."""
        found = self._under()
        if found is None:
            return None
        if found.incident:
            return ("incident", str(found.incident))
        return ("runbooks", f"book {found.runbook}") if found.runbook else None

    def copied(self) -> str:
        """The command that prints the row under the cursor in full."""
        found = self._under()
        if found is None:
            return ""
        return {
            Of.ALERT: f"paddock alerts get {found.name}",
            Of.SILENCE: "paddock alerts silences",
            Of.WINDOW: "paddock alerts silences",
            Of.RECEIVER: "paddock alerts receivers list",
            Of.RULE: f"paddock alerts rules show {found.name}",
        }[found.of]
