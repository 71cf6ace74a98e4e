"""Turns a sequence's bytes into text as it grows: complete UTF-8 only, never part of a stop string.

Only looks at the undecided tail, so that a sequence of n tokens costs O(n). What may become a stop
string is followed character by character (Knuth, Morris and Pratt 1977, "Fast Pattern Matching in
Strings"): a long one that is held back for many tokens costs no more than a short one. Knows
nothing of models or requests. Imported by `generation`.
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
        self._begun = [_Begun(stop) for stop in self._stops]
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
        keep = max(begun.follow(fresh) for begun in self._begun)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


class _Begun:
    """How much of one stop string the text so far ends with, less than all of it."""

    __slots__ = ("_at", "_back", "_stop")

    def __init__(self, stop: str) -> None:
        self._stop = stop
        self._at = 0
        self._back = [0]
        """For the first n + 1 characters: with how many fewer of them they end as they begin.
        Only for as many as have been seen."""

    def follow(self, fresh: str) -> int:
        """Take more text; the length of its longest end that is a beginning of the stop string."""
        stop, back, at = self._stop, self._back, self._at
        if not at and stop[0] not in fresh:
            return 0
        for character in fresh:
            while at and (at == len(stop) or stop[at] != character):
                at = back[at - 1]
            if stop[at] == character:
                at += 1
                if at > len(back):
                    self._extend()
        self._at = back[at - 1] if at == len(stop) else at
        return self._at

    def _extend(self) -> None:
        stop, back = self._stop, self._back
        at = back[-1]
        while at and stop[at] != stop[len(back)]:
            at = back[at - 1]
        back.append(at + (stop[at] == stop[len(back)]))
