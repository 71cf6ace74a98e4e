"""The row above the keys: a line being typed, a question, or the last message.

A line being typed, a question that waits for enter or esc, or the last thing that was said. A
question takes no key but esc until it has been drawn: what was typed before cannot mean it. It
knows no places and no actions: what follows is a function that it was given. Imported by
`app.tui`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from app.widgets import bar, palette
from app.widgets.bar import Edit
from app.widgets.palette import Line

Choices = Callable[[str], Sequence[tuple[str, str]]]
"""Completions of what is typed: keys or words, each with what it means."""

_YES: Final = "enter"
_NO: Final = "escape"


class PromptLine:
    """One of: quiet, a line, a question, something said."""

    def __init__(self) -> None:
        self._edit: Edit | None = None
        self._label = self._hint = ""
        self._typed: Callable[[str], None] | None = None
        self._question = ""
        self._agreed: Callable[[], object] | None = None
        self._said, self._ink = "", ""
        self._effect = ""
        self._choices: Choices | None = None
        self._changed: Callable[[str], object] | None = None
        self._before = ""  # what the line was at first
        self._asked = self._drawn = 0  # questions so far

    @property
    def busy(self) -> bool:
        """Whether keys belong to a line or a question."""
        return self._edit is not None or self._agreed is not None

    @property
    def undrawn(self) -> int:
        """The number of the question that was asked and not drawn yet; 0 for none."""
        return 0 if self._drawn == self._asked else self._asked

    def drawn(self, number: int) -> None:
        """A question is on the terminal: from now on keys answer it."""
        self._drawn = max(self._drawn, number)

    def ask_line(
        self,
        label: str,
        text: str,
        hint: str,
        then: Callable[[str], None],
        choices: Choices | None = None,
        changed: Callable[[str], object] | None = None,
    ) -> None:
        """Let a line be typed; `choices` are what it can become.

        `changed` gets it after each key, and what it was at first when it is cancelled.
        """
        self.quiet()
        self._edit, self._label, self._hint = Edit(text, len(text)), label, hint
        self._typed, self._choices = then, choices
        self._changed, self._before = changed, text

    def ask_why(self, effect: str, label: str, hint: str, then: Callable[[str], None]) -> None:
        """Ask whether to do it, with a line that is typed first; enter agrees."""
        self.ask_line(label, "", hint, then)
        self._effect = effect
        self._asked += 1

    def ask(self, effect: str, then: Callable[[], object]) -> None:
        """Ask whether to do it."""
        self.quiet()
        self._question, self._agreed = effect, then
        self._asked += 1

    def say(self, text: str, tone: str = "") -> None:
        """Say something until the next key; a line or a question that is open stays."""
        self._said, self._ink = text, tone

    def quiet(self) -> None:
        """Nothing is asked and nothing said."""
        self._edit = self._typed = self._agreed = self._choices = self._changed = None
        self._question = self._said = self._effect = ""
        self._drawn = self._asked

    def paste(self, text: str) -> None:
        """Text for the line, if one is being typed."""
        if self._edit is not None and not self.undrawn:
            self._edit = self._edit.insert(text)
            self._tell(self._edit)

    def key(self, key: str, character: str | None) -> None:
        """A key for the line or the question."""
        if key == _NO:
            changed, before = self._changed, self._before
            self.quiet()
            if changed is not None:
                changed(before)
        elif self.undrawn:
            return
        elif self._agreed is not None:
            if key == _YES:
                agreed = self._agreed
                self.quiet()
                agreed()
        elif self._edit is not None and key == _YES:
            typed, text = self._typed, self._edit.text
            self.quiet()
            if typed is not None:
                typed(text)
        elif self._edit is not None:
            self._edit = self._edit.key(key, character)
            self._tell(self._edit)

    def _tell(self, edit: Edit) -> None:
        if self._changed is not None:
            self._changed(edit.text)

    def rows(self, path: str, width: int) -> list[Line]:
        """The rows above the keys."""
        if self._agreed is not None:
            return bar.asking(self._question, width)
        if self._edit is not None:
            return self._line(self._edit, width)
        if self._said:
            return bar.saying(self._said, self._ink, width)
        return [palette.cut(((f" {path}", "dim"),), width)]

    def _line(self, edit: Edit, width: int) -> list[Line]:
        """The line being typed, below what is asked; its hint in a row above where it is long."""
        above = bar.question(self._effect, width)
        if self._choices is not None:
            above += _menu(self._choices(edit.text), width)
        typing = bar.typing(self._label, edit, f"{self._hint}   esc: cancel", width)
        if not palette.text(typing[0]).rstrip().endswith("…"):
            return [*above, *typing]
        ink = "warn" if self._hint.startswith("▲") else "dim"
        return [
            *above,
            *bar.saying(self._hint, ink, width),
            *bar.typing(self._label, edit, "esc: cancel", width),
        ]


def _menu(choices: Sequence[tuple[str, str]], width: int) -> list[Line]:
    if not choices:
        return [((" no place begins so", "warn"),)]
    parts: list[Line] = [((key, "key"), (f" {word}", "")) for key, word in choices]
    return palette.flow(parts, width, gap="  ")
