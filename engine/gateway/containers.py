"""Lists and objects of a JSON value, counted before it is decoded.

Each costs Python as much as kilobytes of text do, and while a body is decoded no other request is
answered. Never decodes, never checks the syntax. Imported by the modules of bodies.
"""

from __future__ import annotations

import itertools
from typing import Final

import msgspec

from engine.gateway import errors

LIMIT: Final = 10_000
"""In a field that may hold many."""
MESSAGES_LIMIT: Final = 50_000
"""In a whole conversation, with the parts of its messages and what tools were called with."""
VALUES_LIMIT: Final = 50_000
"""In a field of free form, which is also written again, for a template or for a grammar."""
DEPTH: Final = 150
"""Within each other. Python's own bound is less than ten times that, for what decodes a value and
for what walks through it."""

_ROUNDS: Final = 8
_OTHERS: Final = bytes(set(range(256)) - set(b'"[{'))
_BESIDES: Final = bytes(set(range(256)) - set(b'"[{]},'))
_STEPS: Final = {ord("["): 1, ord("]"): -1}


def _outside(written: bytes, others: bytes) -> bytes:
    """What is left of a value outside texts without these bytes. Takes milliseconds for megabytes.

    A text that the value's end cuts is left out, too.
    """
    if rb'\\"' in written:  # else every backslash before a quote escapes it
        written = written.replace(rb"\\", b"")
    marks = written.replace(rb"\"", b"").translate(None, others)
    marks = marks.replace(b'""', b"")  # an even number of quotes changes nothing behind it
    return b"".join(marks.split(b'"')[::2])


def count(raw: msgspec.Raw) -> int:
    """The brackets that open one, outside texts."""
    return len(_outside(bytes(raw), _OTHERS))


def within(written: bytes, most: int, depth: int = DEPTH) -> bool:
    """Whether a value, which its end may cut, has at most so many, and so many in each other."""
    if _opened(written) <= min(most, depth):
        return True
    marks = _outside(written, _BESIDES)
    return _opened(marks) <= most and not _deep(marks, depth)


def check(
    name: str, raw: msgspec.Raw, most: int = LIMIT, *, walked: bool = False, copied: bool = False
) -> None:
    """Refuse what would take long to decode.

    `walked`: also what is too deep to be walked through. `copied`: also what has too many values
    to be written again.

    Raises:
        BadRequest: the field of this name holds more lists and objects, or deeper ones, or more
            values.
    """
    written = bytes(raw)
    opened = _opened(written)
    commas = written.count(b",") if copied else 0
    if opened <= (min(most, DEPTH) if walked else most) and commas <= VALUES_LIMIT:
        return
    marks = _outside(written, _BESIDES)
    if _opened(marks) > most:
        raise _refusal(name, f"{most} lists and objects", "send fewer, or as one text")
    if walked and _deep(marks, DEPTH):
        raise _refusal(name, f"{DEPTH} lists and objects within each other", "flatten it")
    if copied and marks.count(b",") > VALUES_LIMIT:
        raise _refusal(name, f"{VALUES_LIMIT} values", "send fewer, or as one text")


def _opened(written: bytes) -> int:
    return written.count(b"[") + written.count(b"{")


def _deep(marks: bytes, most: int) -> bool:
    """Whether more than `most` are within each other; some may not be closed."""
    marks = marks.translate(None, b",").replace(b"{", b"[").replace(b"}", b"]")
    left = marks
    for _ in range(_ROUNDS):  # each takes at most one level off
        left = left.replace(b"[]", b"")
    if _depth(left) + _ROUNDS <= most:
        return False
    return _depth(marks) > most


def _depth(marks: bytes) -> int:
    return max(itertools.accumulate(map(_STEPS.__getitem__, marks)), default=0)


def _refusal(name: str, most: str, advice: str) -> errors.BadRequest:
    return errors.BadRequest(
        f"{name} holds more than {most}; {advice}.", code="invalid_value", param=name
    )
