"""One rollout as a live tree: set beside actual, its steps, its guards, what it waits for.

Below the tree are its moves, newest first. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens import leading, offered
from app.screens.place import Offer
from app.screens.scrolled import Scrolled
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.palette import Line

_BRANCHES: Final = ("├─", "└─")
_INKS: Final = ((" ✔ ", "good"), (" ▶ ", "bold"), (" ✖ ", "bad"), (" Ⅱ ", "warn"))
_HARM: Final = " harm "
_TITLES: Final = "GUARD "
_WHO: Final = 10


def tree(rollout: snapshot.Rollout, width: int) -> list[Line]:
    """The tree; its last branch, which says why it waits, in as many rows as it takes."""
    head, *rest = rollout.tree
    rows: list[Line] = [palette.rule(width, head, f"{rollout.row.change} ")]
    for line in rest:
        stem, text = line[:2], line[2:]
        if stem not in _BRANCHES:
            rows.append(((stem, "dim"), (text, _ink(text))))
            continue
        first, *others = bar.wrapped(text.strip(), max(width - 4, 1))
        tone = _tone(rollout.row) if stem == _BRANCHES[1] else "bold"
        rows.append(((f"{stem} ", "dim"), (first, tone)))
        rows += [(("   ", ""), (each, tone)) for each in others]
    return rows


def _ink(text: str) -> str:
    found = next((ink for sign, ink in _INKS if text.startswith(sign)), "")
    if text.startswith(f" {_TITLES}"):
        return "dim"
    return "bad" if _HARM in text else found


def _tone(row: snapshot.RolloutRow) -> str:
    return {"Degraded": "bad", "Paused": "warn", "Healthy": "good"}.get(row.phase, "bold")


def moves(rollout: snapshot.Rollout, width: int) -> list[Line]:
    """Its moves, newest first, each with its reason in full."""
    rows: list[Line] = [palette.rule(width, "MOVES", "UTC")]
    for each in rollout.moves:
        at = words.clock(each.at_us)[5:16]
        head = f" {at}  {words.pad(words.safe(each.who), _WHO)}  {each.state:<9}  "
        said = bar.wrapped(words.safe(each.sentence), max(width - words.width(head) - 1, 1))
        blank = " " * words.width(head)
        rows += [((blank if n else head, "dim"), (part, "")) for n, part in enumerate(said)]
    return rows


class Rollout(Scrolled):
    """One rollout."""

    where: ClassVar[str] = "rollout"
    hints: ClassVar = (
        ("f", "promote"), ("x", "abort"), ("u", "undo"), ("P", "pause"), ("F", "fully"),
        ("R", "retry"), ("U", "undo to"),
    )  # fmt: skip

    acts: ClassVar = (*(verb.name for verb in leading.VERBS), "look.copy")

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._rollout: snapshot.Rollout | None = None
        self._latest: Sequence[snapshot.RolloutRow] = ()

    def wanted(self) -> Query:
        """That rollout."""
        return Query(place=self.where, rollout=self._number)

    def path(self) -> str:
        """With its number."""
        return f"pulse › rollouts › {self._number}"

    def open(self, what: str) -> None:
        """Show another one from now on."""
        self._number, self._rollout, self._top, self._rows = int(what), None, 0, []

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        found, width = current.rollout, self.size.width
        self._latest = current.latest
        if found is not None and found.row.id == self._number:
            self._rollout = found
            keys = offered.rows(self.program, leading.VERBS, self.offer, width)
            self._rows = [*tree(found, width), (), *keys, *moves(found, width)]
        elif not self._rows or current.missing:
            text = current.header.error or current.missing or "reading the store…"
            self._rows = [(), *bar.saying(text, "bold", width)]
        self._scroll()

    def copied(self) -> str:
        """Its service, as commands take it."""
        return "" if self._rollout is None else self._rollout.row.service

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Lead it on, or take it back."""
        row = None if self._rollout is None else self._rollout.row
        return leading.offer(name, row, self._latest, typed)
