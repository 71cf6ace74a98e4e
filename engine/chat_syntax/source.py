"""Text that arrives in pieces, read as if it were there: a reader yields while it needs more.

What a reader finds depends on the text alone, never on how it was cut. Imported by the readers of
this room.
"""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import Final, TypeVar

T = TypeVar("T")
Reading = Generator[None, None, T]
"""A reader: it yields whenever it needs more text, and returns what it found."""

_SPACES: Final = " \t\r\n"


class Source:
    """`text` from `at` on is unread. `ended`: no more comes.

    `starved`: a reader failed because the text ended before it could know.
    """

    __slots__ = ("_pins", "at", "ended", "starved", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self._pins: list[int] = []
        self.ended = False
        self.starved = False

    def feed(self, piece: str) -> None:
        """More text; what was read and is not pinned is forgotten."""
        base = self._pins[0] if self._pins else self.at
        self.text = self.text[base:] + piece
        self.at -= base
        self._pins = [pin - base for pin in self._pins]

    def pin(self) -> None:
        """A reader may come back to here; each pin is undone by `back`, `unpin` or `settle`."""
        self._pins.append(self.at)
        self.starved = False

    def back(self) -> None:
        """Return to the last pin."""
        if self._pins:
            self.at = self._pins.pop()

    def unpin(self) -> None:
        """Forget the last pin."""
        if self._pins:
            self._pins.pop()

    def settle(self) -> None:
        """No reader comes back to anything before here."""
        self._pins.clear()

    def short(self) -> bool:
        """Whether nothing more comes; a reader that asks has failed for that."""
        self.starved = self.starved or self.ended
        return self.ended

    def peek(self) -> Reading[str]:
        """The next character, "" at the end."""
        while self.at >= len(self.text):
            if self.short():
                return ""
            yield
        return self.text[self.at]

    def spaces(self) -> Reading[None]:
        """Skip white space."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACES:
                self.at += 1
            if self.at < len(self.text) or self.ended:
                return
            yield

    def take(self, literal: str) -> Reading[bool]:
        """Read this if it comes next."""
        while True:
            found = self.text[self.at : self.at + len(literal)]
            if found == literal:
                self.at += len(literal)
                return True
            if not literal.startswith(found) or self.short():
                return False
            yield

    def take_any(self, literals: tuple[str, ...]) -> Reading[str]:
        """Read the first of these that comes next; "" if none does."""
        for literal in literals:
            if literal and (yield from self.take(literal)):
                return literal
        return ""

    def until(self, literal: str, limit: int) -> Reading[str | None]:
        """The text before this, of at most `limit` characters, and the literal; None without it."""
        while True:
            found = self.text.find(literal, self.at, self.at + limit + len(literal))
            if found >= 0:
                text = self.text[self.at : found]
                self.at = found + len(literal)
                return text
            if len(self.text) - self.at >= limit + len(literal) or self.short():
                return None
            yield


def overhang(text: str, markers: tuple[str, ...]) -> int:
    """The length of the longest end of a text that begins one of the markers, not all of it."""
    longest, firsts = _shape(markers)
    for at in range(max(0, len(text) - longest + 1), len(text)):
        if text[at] in firsts:
            end = text[at:]
            if any(marker.startswith(end) for marker in markers):
                return len(end)
    return 0


@functools.lru_cache(maxsize=256)
def _shape(markers: tuple[str, ...]) -> tuple[int, frozenset[str]]:
    """The length of the longest, and the characters with which they begin."""
    return max(map(len, markers), default=1), frozenset(marker[0] for marker in markers)
