"""The replays, newest first: recorded requests that were asked again, and how they ended.

Enter opens one. Imported by `app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens.listed import LISTED
from app.screens.numbered import Numbered
from app.widgets import bar, palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_RESULT: Final = 3  # rows of a result below the list; enter shows all of it

COLUMNS: Final = (
    Column(title="#", width=5, right=True),
    Column(title="KIND", width=9),
    Column(title="SERVICE", width=10, most=24),
    Column(title="ON", width=9, most=12),
    Column(title="ASKED", width=9, right=True),
    Column(title="JOB", width=14, most=20),
    Column(title="SINCE", width=6, right=True),
    Column(title="BY", width=8, rank=2, most=16),
    Column(title="RESULT", width=12, rank=1, most=80),
)


def row(replay: snapshot.ReplayRow, now_us: int) -> Row:
    """One replay as a row."""
    cells: tuple[Piece, ...] = (
        (str(replay.id), "bold"),
        (replay.kind, ""),
        (replay.service, ""),
        (replay.on, ""),
        (replay.asked, ""),
        (replay.job, "good" if replay.under_way else "dim"),
        (words.age(max(now_us - replay.asked_at_us, 0)), "dim"),
        (replay.by, "dim"),
        (replay.result, "dim"),
    )
    return Row(str(replay.id), cells)


def detail(replay: snapshot.ReplayRow, width: int) -> list[Line]:
    """How a replay ended."""
    about = f"{words.clock(replay.asked_at_us)} by {replay.by}"
    head = palette.rule(width, f"{replay.id}  {replay.service} on {replay.on}", about)
    said = bar.wrapped(words.safe(replay.result) or "it has not ended", max(width - 2, 1))
    return [head, *(((f" {each}", ""),) for each in said[:_RESULT])]


class Replays(Numbered[snapshot.ReplayRow]):
    """The list."""

    where: ClassVar[str] = "replays"
    hints: ClassVar = (("enter", "open"),)
    acts: ClassVar = ("look.open", *LISTED)
    twins: ClassVar = {"look.open": "releases replays show REPLAY"}
    heading: ClassVar[str] = "REPLAYS"
    opens: ClassVar[str] = "replay"

    def listed(self, current: snapshot.Snapshot) -> Sequence[snapshot.ReplayRow] | None:
        """The replays."""
        return current.replays

    def columns(self) -> Sequence[Column]:
        """What was asked on what, and what came out."""
        return COLUMNS

    def row(self, each: snapshot.ReplayRow) -> Row:
        """One replay."""
        return row(each, self.now_us)

    def caption(self) -> str:
        """How many are under way."""
        return f"{sum(each.under_way for each in self.shown)} under way"

    def empty(self) -> str:
        """How one starts."""
        return (
            "no replays yet: `paddock releases replay r2 --service SERVICE` asks a release a "
            "sample of recorded requests"
        )

    def detail(self, width: int) -> list[Line]:
        """How the replay under the cursor ended."""
        found = self.under()
        return [] if found is None else detail(found, width)
