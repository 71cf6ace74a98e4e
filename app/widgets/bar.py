"""The row above the keys: where one is, what was said last, what is typed, what is asked.

It edits one line of text and knows neither places nor actions. A confirm takes as many rows as it
needs, so that nothing of an effect is ever cut. Imported by screens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app import words
from app.widgets import palette
from app.widgets.lines import Lines
from app.widgets.palette import Line

_LIMIT: Final = 400


@dataclass(frozen=True, slots=True)
class Edit:
    """A line being typed, and the position of its cursor."""

    text: str = ""
    at: int = 0

    def insert(self, typed: str) -> Edit:
        """The line with something typed or pasted; controls are made visible."""
        clean = words.safe(typed.splitlines()[0] if typed.splitlines() else "")
        text = (self.text[: self.at] + clean + self.text[self.at :])[:_LIMIT]
        return Edit(text, min(self.at + len(clean), len(text)))

    def key(self, key: str, character: str | None) -> Edit:
        """The line after a key; keys that mean nothing here change nothing."""
        before, after = self.text[: self.at], self.text[self.at :]
        last_word = before.rstrip().rfind(" ") + 1
        moves = {
            "left": replace(self, at=max(self.at - 1, 0)),
            "right": replace(self, at=min(self.at + 1, len(self.text))),
            "home": replace(self, at=0),
            "ctrl+a": replace(self, at=0),
            "end": replace(self, at=len(self.text)),
            "ctrl+e": replace(self, at=len(self.text)),
            "backspace": Edit(before[:-1] + after, max(self.at - 1, 0)),
            "ctrl+h": Edit(before[:-1] + after, max(self.at - 1, 0)),
            "delete": Edit(before + after[1:], self.at),
            "ctrl+u": Edit(after, 0),
            "ctrl+k": Edit(before, self.at),
            "ctrl+w": Edit(before[:last_word] + after, last_word),
        }
        if key in moves:
            return moves[key]
        if character and character.isprintable():
            return self.insert(character)
        return self


def typing(label: str, edit: Edit, hint: str, width: int) -> list[Line]:
    """The line being typed, with a block for the cursor."""
    under = edit.text[edit.at : edit.at + 1] or " "
    row: Line = (
        (f" {label}", "bold"),
        (edit.text[: edit.at], ""),
        (under, "block"),
        (edit.text[edit.at + 1 :], ""),
    )
    room = width - palette.length(row) - 3
    after = ((words.cut(hint, room), "dim"), (" ", "")) if room > 0 else ()
    return [palette.spread(row, after, width)]


def asking(effect: str, width: int) -> list[Line]:
    """A confirm: the effect in full, and the two keys that answer it."""
    keys = "enter: do it   esc: cancel"
    rows = wrapped(effect, max(width - 2, 1))
    fits = words.width(rows[-1]) + words.width(keys) + 4 <= width
    last = rows.pop() if fits else ""
    found = [((" " + words.pad(row, width - 1), "ask"),) for row in rows]
    tail = f" {last}" if last else ""
    gap = " " * max(width - words.width(tail) - words.width(keys) - 1, 0)
    return [*found, ((tail + gap + keys + " ", "ask"),)]


def question(effect: str, width: int) -> list[Line]:
    """The effect of a change in full, above the line that is typed to agree to it."""
    rows = wrapped(effect, max(width - 2, 1)) if effect else []
    return [((" " + words.pad(row, width - 1), "ask"),) for row in rows]


def wrapped(text: str, width: int) -> list[str]:
    """A sentence in rows, broken at spaces; runs of spaces inside a row stay."""
    rows: list[str] = []
    for word in text.split(" "):
        if rows and words.width(rows[-1]) + 1 + words.width(word) <= width:
            rows[-1] += f" {word}"
            continue
        rest = word
        while words.width(rest) > width:
            short = words.cut(rest, width)[:-1] or rest[:1]
            rows.append(short)
            rest = rest[len(short) :]
        rows.append(rest)
    return rows or [""]


def saying(text: str, name: str, width: int) -> list[Line]:
    """What came of something, in as many rows as it takes."""
    return [((f" {row}", name),) for row in wrapped(text, max(width - 2, 1))]


class Bar(Lines):
    """The row above the keys."""

    DEFAULT_CSS = "Bar { width: 1fr; height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, grows=True)

    def show_bar(self, rows: Sequence[Line]) -> None:
        """Draw these rows; there is always one."""
        self.show(list(rows) or [()])
