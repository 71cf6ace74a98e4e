"""The prompt versions with their labels; below, where the one under the cursor is used.

`L` points a label at it, `u` moves a label back, `d` marks it for comparison; enter opens it with
the difference by words. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.widget import Widget

from app import snapshot, words
from app.screens import labelling, offered
from app.screens.place import Offer, Place
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row, Table

_STEP: Final = 200
_MOST: Final = 2000
_FACTS: Final = 6
_LABEL: Final = 9

COLUMNS: Final = (
    Column(title="PROMPT", width=18, most=40),
    Column(title="LABELS", width=20, most=40),
    Column(title="TAG", width=7, most=12),
    Column(title="AUTHOR", width=8, rank=2, most=16),
    Column(title="ADDED", width=7, right=True),
    Column(title="COMMENT", width=14, rank=1, most=80),
)


def row(version: snapshot.PromptRow, now_us: int) -> Row:
    """One version as a row."""
    cells: tuple[Piece, ...] = (
        (version.name, "bold" if version.labels else ""),
        (" ".join(version.labels), "good"),
        (version.tag, "dim"),
        (version.author, "dim"),
        (words.age(max(now_us - version.at_us, 0)), "dim"),
        (version.comment, "dim"),
    )
    return Row(version.name, cells)


def facts(version: snapshot.Prompt, width: int) -> list[Line]:
    """What is known of a version, and what it is compared with."""
    changed = words.counted(len(version.differences), "part")
    about = f"{changed} unlike {version.against}" if version.against else ""
    rows: list[Line] = [palette.rule(width, version.name, about)]
    rows += [((f" ▲ quarantined: {each}", "bad"),) for each in version.quarantined]
    rows += [((f" {label:<{_LABEL}}", "dim"), (value, "")) for label, value in version.facts]
    return rows


class Prompts(Place):
    """The list."""

    where: ClassVar[str] = "prompts"
    hints: ClassVar = (("enter", "open"), ("L", "label"), ("u", "undo"), ("d", "compare"))

    acts: ClassVar = (
        "look.open", *labelling.NAMES, "look.compare", "look.filter", "look.copy",
    )  # fmt: skip
    twins: ClassVar = {"look.open": "prompts show NAME", "look.compare": "prompts diff A B"}

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._limit = _STEP
        self._against = ""
        self._seen: snapshot.Prompts | None = None
        self._now_us = 0
        self._role = ""

    def body(self) -> Iterable[Widget]:
        """What is listed, the list, and the version under the cursor."""
        yield Lines(id="title", grows=True)
        yield Table(id="list")
        yield Lines(id="detail", grows=True)

    def wanted(self) -> Query:
        """The versions that pass the filter, and the one under the cursor in full."""
        chosen = (self.query_one(Table).cursor or "") if self.ready else ""
        return Query(
            place=self.where, filter=self._filter, limit=self._limit, prompt=chosen,
            against=self._against,
        )  # fmt: skip

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the list."""
        if current.prompts is None:
            said = current.header.error or ("" if self._seen else "reading the store…")
            if said:
                self.query_one("#title", Lines).show(bar.saying(said, "bold", self.size.width))
            return
        if current.prompts.filter != self._filter:
            return
        self._seen, self._now_us = current.prompts, current.header.now_us
        self._role = current.header.person.role
        seen, width = current.prompts, self.size.width
        count = f"{'first' if seen.more else 'all'} {len(seen.rows)}"
        marked = f" · compared with {self._against}" if self._against else ""
        filtered = f" containing “{seen.filter}”" if seen.filter else ""
        title = palette.rule(width, f"PROMPTS{filtered}", f"{count}{marked}")
        self.query_one("#title", Lines).show([title])
        empty = "no prompts yet: `paddock prompts add FILE --name NAME` adds one"
        self.query_one(Table).show_table(
            COLUMNS,
            [row(each, self._now_us) for each in seen.rows],
            f"no version contains “{seen.filter}”" if seen.filter else empty,
        )
        self._detail()

    def _detail(self) -> None:
        width, version = self.size.width, self._version()
        rows: list[Line] = []
        if version is not None:
            rows = facts(version, width)
            if len(rows) > _FACTS + 1:
                left = len(rows) - _FACTS
                rows[_FACTS:] = [((f" and {left} more: enter", "dim"),)]
            rows += offered.rows(self.program, labelling.VERBS, self.offer, width)
        elif (cursor := self.query_one(Table).cursor) is not None:
            rows = [palette.rule(width, cursor), ((" not read yet", "dim"),)]
        self.query_one("#detail", Lines).show([palette.cut(each, width) for each in rows])

    def _version(self) -> snapshot.Prompt | None:
        """The version under the cursor, once it has been read."""
        found = None if self._seen is None else self._seen.chosen
        return found if found is not None and found.name == self.query_one(Table).cursor else None

    def moved(self, key: str) -> bool:
        """Move the cursor; at the end, more versions are asked for."""
        list_ = self.query_one(Table)
        before = list_.index
        if not list_.key(key):
            return False
        if key in {"down", "pagedown", "end"} and before == list_.index:
            self._limit = min(self._limit + _STEP, _MOST)
        self._detail()
        return True

    def opened(self) -> tuple[str, str] | None:
        """The version under the cursor, and what it is compared with."""
        cursor = self.query_one(Table).cursor
        return ("prompt", f"{cursor} {self._against}") if cursor else None

    def copied(self) -> str:
        """The name of the version under the cursor."""
        return self.query_one(Table).cursor or ""

    def compared(self) -> str:
        """Compare the versions with the one under the cursor from now on, or no longer."""
        cursor = self.query_one(Table).cursor or ""
        self._against = "" if cursor == self._against else cursor
        if not self._against:
            return "Versions are compared with the one in production again."
        return f"Versions are compared with {cursor} now; d there again ends that."

    def filtered(self, text: str | None = None) -> str:
        """The text that rows contain."""
        if text is not None and text != self._filter:
            self._filter, self._limit = text, _STEP
        return self._filter

    def back(self) -> bool:
        """First the filter goes, then the comparison."""
        if not self._filter and not self._against:
            return False
        self._filter, self._against = "", self._against if self._filter else ""
        return True

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Move a label to the version under the cursor, or back from it."""
        return labelling.offer(name, self._version(), self._role, typed)
