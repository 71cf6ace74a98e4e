"""One prompt version in full: its labels and uses, the difference by words, its text.

Imported by `app.tui`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from app import snapshot, words
from app.screens import labelling, offered, prompts
from app.screens.place import Offer
from app.screens.scrolled import Scrolled
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.palette import Line

_INKS: Final = {"removed": "bad", "added": "good", "skipped": "dim"}


def differences(version: snapshot.Prompt, width: int) -> list[Line]:
    """What distinguishes it, part by part: [-removed-] and {+added+}, coloured where that can be.

    A row that is too wide continues in the next.
    """
    if not version.against:
        return []
    rows: list[Line] = [palette.rule(width, "DIFFERENCE", f"{version.against} → {version.name}")]
    if not version.differences:
        rows.append(((f" none: {version.against} has the same content", "dim"),))
    for part in version.differences:
        rows.append(((f" {part.title}", "bold"),))
        for pieces in part.rows:
            line = tuple((words.safe(text), _INKS.get(change, "")) for change, text in pieces)
            rows += [((" │ ", "dim"), *row) for row in broken(line, max(width - 4, 1))]
    return rows


def broken(line: Line, width: int) -> list[Line]:
    """A row of pieces in rows of at most `width` cells, broken at a space where there is one."""
    rows: list[list[tuple[str, str]]] = [[]]
    room = width
    for text, ink in line:
        rest = text
        while words.width(rest) > room:
            part = words.cut(rest, room)[:-1] if room > 1 else ""
            at = part.rfind(" ") + 1
            part = part[:at] if at else part if not rows[-1] else ""
            if not part and not rows[-1]:
                part = rest[:1]
            if part:
                rows[-1].append((part, ink))
            rest, room = rest[len(part) :], width
            rows.append([])
        if rest:
            rows[-1].append((rest, ink))
            room -= words.width(rest)
    return [tuple(row) for row in rows if row] or [()]


def text(version: snapshot.Prompt, width: int) -> list[Line]:
    """Variables, messages and response schema."""
    rows: list[Line] = [palette.rule(width, "TEXT")]
    for line in version.text:
        head = line.startswith("[") and line.endswith("]")
        wrapped = bar.wrapped(words.safe(line), max(width - 2, 1))
        rows += [((f" {each}".rstrip(), "bold" if head else ""),) for each in wrapped]
    return rows


class Prompt(Scrolled):
    """One version."""

    where: ClassVar[str] = "prompt"
    hints: ClassVar = (("L", "label"), ("u", "undo"), ("y", "copy name"))

    acts: ClassVar = (*labelling.NAMES, "look.copy")

    def __init__(self) -> None:
        super().__init__()
        self._chosen = self._against = ""
        self._version: snapshot.Prompt | None = None
        self._role = ""

    def wanted(self) -> Query:
        """That version."""
        return Query(place=self.where, prompt=self._chosen, against=self._against)

    def path(self) -> str:
        """With its name."""
        return f"pulse › prompts › {self._chosen}"

    def open(self, what: str) -> None:
        """Show another one from now on: its name, and perhaps what it is compared with."""
        self._chosen, _, self._against = what.partition(" ")
        self._version, self._top, self._rows = None, 0, []

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        found, width = current.prompt, self.size.width
        self._role = current.header.person.role
        if found is not None and found.name == self._chosen:
            self._version = found
            rows = [
                *prompts.facts(found, width),
                *offered.rows(self.program, labelling.VERBS, self.offer, width),
                *differences(found, width),
                *text(found, width),
            ]
            self._rows = [palette.cut(row, width) for row in rows]
        elif not self._rows or current.missing:
            said = current.header.error or current.missing or "reading the store…"
            self._rows = [(), *bar.saying(said, "bold", width)]
        self._scroll()

    def copied(self) -> str:
        """Its name."""
        return self._chosen

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Move a label to it, or back from it."""
        return labelling.offer(name, self._version, self._role, typed)
