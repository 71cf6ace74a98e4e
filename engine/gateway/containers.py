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

_OTHERS: Final = bytes(set(range(256)) - set(b'"[{'))


def count(raw: msgspec.Raw) -> int:
    """The brackets that open one, outside texts. Takes milliseconds for megabytes."""
    marks = bytes(raw).replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _OTHERS)
    marks = marks.replace(b'""', b"")  # an even number of quotes changes nothing behind it
    return sum(len(outside) for outside in marks.split(b'"')[::2])


def check(name: str, raw: msgspec.Raw, most: int = LIMIT) -> None:
    """Refuse what would take long to decode.

    Raises:
        BadRequest: the field of this name holds more.
    """
    written = bytes(raw)
    if written.count(b"[") + written.count(b"{") > most and count(raw) > most:
        raise errors.BadRequest(
            f"{name} holds more than {most} lists and objects.", code="invalid_value", param=name
        )
