"""Turns a sequence's bytes into text as it grows: complete UTF-8 only, never part of a stop string.

Only looks at the undecided tail, so that a sequence of n tokens costs O(n). Knows nothing of models
or requests. Imported by `generation`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class Detokeniser:
    """The text of one sequence.

    `push` takes a token's bytes and returns the text that is now certain. Invalid UTF-8 becomes
    U+FFFD. When a stop string is complete, `stop` holds it, the text before it has been returned
    and no more text comes. While `stops` is false, a stop string that is complete is only text.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        """Empty; empty stop strings are ignored."""
        self._bytes = b""
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stops = True
        self.stop = ""

    def push(self, raw: bytes) -> str:
        """Take a token's bytes; return the text that is now certain, often empty."""
        if self._bytes:
            raw = self._bytes + raw
        fresh, read = codecs.utf_8_decode(raw, "replace", False)
        self._bytes = raw[read:]
        return self._take(fresh) if self._stops else fresh

    def flush(self) -> str:
        """End the sequence; return the undecided tail."""
        fresh, _ = codecs.utf_8_decode(self._bytes, "replace", True)
        self._bytes = b""
        text = self._take(fresh)
        if self.stop:
            return text
        text += self._held
        self._held = ""
        return text

    def _take(self, fresh: str) -> str:
        if not self._stops:
            return fresh
        if self.stop or not fresh:
            return ""
        text = self._held + fresh
        ends = [
            (place + len(stop), place, stop)
            for stop in self._stops
            if (place := text.find(stop)) >= 0
        ]
        if ends and self.stops:  # the one completed first, however the text was cut into tokens
            _, place, self.stop = min(ends)
            self._held = ""
            return text[:place]
        keep = max(_overhang(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overhang(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
