"""Lists and objects of a JSON value, counted before it is decoded.

Each costs Python as much as kilobytes of text do, and while a body is decoded no other request is
answered. Never decodes, never checks the syntax. Imported by the modules of bodies.
"""

from __future__ import annotations

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

_OTHERS: Final = bytes(set(range(256)) - set(b'"[{'))
_BESIDES: Final = bytes(set(range(256)) - set(b'"[{]},'))


def _outside(written: bytes, others: bytes) -> list[bytes]:
    """What is left of a value outside texts without these bytes."""
    marks = written.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, others)
    marks = marks.replace(b'""', b"")  # an even number of quotes changes nothing behind it
    return marks.split(b'"')[::2]


def count(raw: msgspec.Raw) -> int:
    """The brackets that open one, outside texts. Takes milliseconds for megabytes."""
    return sum(map(len, _outside(bytes(raw), _OTHERS)))


def deep(written: bytes, most: int = DEPTH) -> bool:
    """Whether more than `most` are within each other; also where brackets do not match."""
    marks = b"".join(_outside(written, _BESIDES)).translate(None, b",")
    marks = marks.replace(b"{", b"[").replace(b"}", b"]")
    for _ in range(most):
        marks = marks.replace(b"[]", b"")
        if not marks:
            return False
    return True


def check(name: str, raw: msgspec.Raw, most: int = LIMIT) -> None:
    """Refuse what would take long to decode, or cannot be walked through.

    Raises:
        BadRequest: the field of this name holds more lists and objects, or deeper ones.
    """
    written = bytes(raw)
    found = written.count(b"[") + written.count(b"{")
    if found > most and count(raw) > most:
        raise errors.BadRequest(
            f"{name} holds more than {most} lists and objects.", code="invalid_value", param=name
        )
    if found > DEPTH and deep(written):
        raise errors.BadRequest(
            f"{name} holds more than {DEPTH} lists and objects within each other.",
            code="invalid_value",
            param=name,
        )


def check_values(name: str, raw: msgspec.Raw) -> None:
    """Refuse what would take long to write again.

    Raises:
        BadRequest: the field of this name holds too many values.
    """
    written = bytes(raw)
    if written.count(b",") <= VALUES_LIMIT:
        return
    if sum(each.count(b",") for each in _outside(written, _BESIDES)) > VALUES_LIMIT:
        raise errors.BadRequest(
            f"{name} holds more than {VALUES_LIMIT} values.", code="invalid_value", param=name
        )
