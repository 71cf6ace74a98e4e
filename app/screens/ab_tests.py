"""A/B tests, newest first, with how each ended; below the list the one under the cursor.

Its arms, and for each goal n, effect, interval, verdict and what is still needed. Imported by
`app.tui`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens.listed import LISTED
from app.screens.numbered import Numbered
from app.screens.offered import Verb
from app.screens.place import Offer
from app.snapshot import Query
from app.widgets import palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_VERDICTS: Final = {
    "better": "good", "winner": "good", "holds": "good", "worse": "bad", "harm": "bad",
    "mismatch": "bad", "error": "warn",
}  # fmt: skip

COLUMNS: Final = (
    Column(title="TEST", width=5, right=True),
    Column(title="SERVICE", width=12, most=24),
    Column(title="ARMS", width=14, most=30),
    Column(title="GOAL", width=13),
    Column(title="RESULT", width=16, most=20),
    Column(title="STARTED", width=20, rank=1),
    Column(title="BY", width=8, rank=2, most=16),
)


def row(test: snapshot.AbTestRow) -> Row:
    """One test as a row; the control is its first arm."""
    tone = "" if test.well else "bad"
    sign = "● " if test.under_way else ""
    sign = sign if test.well else "▲ "
    cells: tuple[Piece, ...] = (
        (str(test.id), "bold"),
        (test.service, ""),
        (" ".join(f"r{arm}" for arm in test.arms), ""),
        (test.goal, "dim"),
        (sign + test.result, tone or ("good" if test.under_way else "")),
        (words.clock(test.started_at_us), "dim"),
        (test.actor, "dim"),
    )
    return Row(str(test.id), cells)


def detail(shown: snapshot.AbTests, width: int) -> list[Line]:
    """One test in full: arms, goals, guards, the split, and what it waits for."""
    test = next((each for each in shown.rows if each.id == shown.shown), None)
    if test is None:
        return []
    until = "" if shown.until_us is None else f"until {words.clock(shown.until_us)} at most"
    rows: list[Line] = [palette.rule(width, f"{test.id}  {test.service}  {test.result}", until)]
    for part in (shown.arms, shown.goals, shown.guards):
        rows += [_line(text, head=not at) for at, text in enumerate(part)]
    if shown.split:
        rows.append(((f" {shown.split}", "dim"),))
    wrapped = textwrap.wrap(words.safe(shown.waiting), width - 2)
    rows += [((f" {text}", "" if test.well else "bad"),) for text in wrapped]
    return [palette.cut(each, width) for each in rows]


def _line(text: str, *, head: bool) -> Line:
    if head:
        return ((f" {text}", "dim"),)
    tone = next((ink for word, ink in _VERDICTS.items() if word in text.split()), "")
    return ((f" {text}", tone),)


def offered(name: str, test: snapshot.AbTestRow | None) -> Offer | None:
    """What stopping or promoting a test would do; None where an action is about something else."""
    if name not in {"ab_tests.stop", "ab_tests.promote"}:
        return None
    if test is None:
        return Offer(unable="there is no A/B test under the cursor")
    what = f"A/B test {test.id} of {test.service}"
    arguments: dict[str, object] = {"ab_test": test.id}
    if name == "ab_tests.stop":
        if not test.under_way:
            return Offer(unable=f"{what} has ended: {test.result}")
        effect = f"stop {what}: all traffic back to r{test.arms[0]}"
        return Offer(target=test.service, arguments=arguments, effect=effect)
    if not test.promotable:
        advice = f"`paddock ab-tests promote {test.service} --to r2` names one"
        return Offer(unable=f"{what} has no winner to promote; {advice}")
    return Offer(
        target=test.service,
        arguments=arguments,
        expected_version=test.version,
        effect=f"promote r{test.winner} of {what}: all traffic of {test.service} to it",
    )


class AbTests(Numbered[snapshot.AbTestRow]):
    """The list, and one of them."""

    where: ClassVar[str] = "ab-tests"
    hints: ClassVar = (("x", "stop"), ("f", "promote"))
    acts: ClassVar = ("ab_tests.stop", "ab_tests.promote", *LISTED)
    heading: ClassVar[str] = "A/B TESTS"
    verbs: ClassVar = (
        Verb("ab_tests.stop", "x", "stop"),
        Verb("ab_tests.promote", "f", "promote"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._seen = snapshot.AbTests(rows=())

    def wanted(self) -> Query:
        """The test under the cursor in full."""
        return Query(place=self.where, ab_test=int(self.cursor or 0) if self.ready else 0)

    def listed(self, current: snapshot.Snapshot) -> Sequence[snapshot.AbTestRow] | None:
        """The tests, and the one that was read in full."""
        if (found := current.ab_tests) is None:
            return None
        self._seen = found
        return found.rows

    def columns(self) -> Sequence[Column]:
        """What is tested, and how it ended."""
        return COLUMNS

    def row(self, each: snapshot.AbTestRow) -> Row:
        """One test."""
        return row(each)

    def caption(self) -> str:
        """How many are under way."""
        return f"{sum(test.under_way for test in self.shown)} under way"

    def empty(self) -> str:
        """How one starts."""
        command = "paddock ab-tests start SERVICE --arm r1=50 --arm r2=50 --goal thumbs_up"
        return f"no A/B tests yet: `{command}` starts one"

    def detail(self, width: int) -> list[Line]:
        """The test that was read in full."""
        return detail(self._seen, width)

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Stop the test under the cursor, or promote its winner."""
        del typed
        return offered(name, self.under())

    def copied(self) -> str:
        """The command that shows the test under the cursor."""
        test = self.under()
        return "" if test is None else f"paddock ab-tests show {test.service} --test {test.id}"
