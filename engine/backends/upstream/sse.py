"""Parses server-sent events from a byte stream, incrementally and in bounded memory.

Follows the WHATWG specification (comments, CRLF, several data lines), and reads the non-standard
field `error` of older llama-servers as an event of that name. Knows nothing of HTTP or JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

EVENT_LIMIT: Final = 1 << 20
"""Bytes of one event; a token with twenty alternatives takes about three thousand."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class TooLong(Exception):
    """An event exceeds the limit."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, `message` unless the stream says otherwise, and its data."""

    name: str
    data: bytes


class Parser:
    """Splits a stream into events. An incomplete event at the end of the stream is dropped."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        """Start at the beginning of a stream."""
        self._limit = limit
        self._pending = bytearray()  # of a line, without the CR that may be half of its end
        self._cut = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._started = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete now.

        Raises:
            TooLong: an event exceeds the limit.
        """
        if not self._started and chunk:
            self._started = True
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
        *lines, rest = _LINE_END.split(self._cut + chunk)
        if lines:  # only new bytes are searched: a line may arrive in many pieces
            lines[0] = bytes(self._pending) + lines[0]
            self._pending.clear()
        self._cut = b"\r" if rest.endswith(b"\r") else b""
        self._pending += rest.removesuffix(b"\r")
        if len(self._pending) + self._size > self._limit:
            raise TooLong
        found: list[Event] = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(Event(self._name or "message", b"\n".join(self._data)))
                self._name, self._data, self._size = "", [], 0
            else:
                self._field(line)
        return found

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add(value)
        elif name == b"error":
            self._name = "error"
            self._add(value)
        elif name == b"event":
            self._name = value[:80].decode("utf-8", "replace")

    def _add(self, value: bytes) -> None:
        self._size += len(value) + 1
        if self._size > self._limit:
            raise TooLong
        self._data.append(value)
