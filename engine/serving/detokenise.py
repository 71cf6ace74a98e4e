"""Tokens' bytes to text as it grows: complete UTF-8 only, stop strings never shown in part.

Never looks at more than the undecided tail, so a sequence of n tokens costs O(n). Knows nothing of
models or requests. Imported by the worker.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

_decoder = codecs.getincrementaldecoder("utf-8")


class Detokeniser:
    """The text of one sequence.

    `push` takes the bytes of a token and returns what has become certain. Bytes that are no UTF-8
    become U+FFFD. When a stop string is complete, `stopped` is true, the text before it has been
    returned and nothing more ever comes.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        """Begin with nothing; empty stop strings are ignored."""
        self._bytes = _decoder(errors="replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def push(self, raw: bytes) -> str:
        """Take a token's bytes; return the text that is certain now, perhaps empty."""
        return self._take(self._bytes.decode(raw))

    def flush(self) -> str:
        """End the sequence; return what was undecided."""
        text = self._take(self._bytes.decode(b"", final=True))
        if self.stopped:
            return text
        text += self._held
        self._held = ""
        return text

    def _take(self, fresh: str) -> str:
        if not self._stops:
            return fresh
        if self.stopped or not fresh:
            return ""
        text = self._held + fresh
        ends = [
            (place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0
        ]
        if ends:  # the one that was complete first, so that it does not matter how text was cut
            self.stopped = True
            self._held = ""
            return text[: min(ends)[1]]
        keep = max(_overhang(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overhang(text: str, stop: str) -> int:
    """How long the end of `text` is that could be the beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
