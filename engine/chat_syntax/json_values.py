"""JSON values in text that arrives in pieces: passed on as they come, or read whole.

Follows strings and brackets only: what a model writes inside is its own matter. Imported by the
readers of calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from engine.chat_syntax.source import Reading, Source

_STRUCTURE: Final = re.compile(r'[{}\[\]"]')
_IN_STRING: Final = re.compile(r'["\\]')
_SCALAR: Final = re.compile(r"[^\s,;\]}]*")
_LONGEST: Final = 300


def container(source: Source, emit: Callable[[str], None]) -> Reading[bool]:
    """Pass on an object or a list that begins here; False if the text ends inside it."""
    depth, quoted, at = 0, False, source.at
    while True:
        found = (_IN_STRING if quoted else _STRUCTURE).search(source.text, at)
        escape = found is not None and found[0] == "\\"
        if found is None or (escape and found.end() >= len(source.text)):
            end = len(source.text) if found is None or source.ended else found.start()
            emit(source.text[source.at : end])
            source.at = end
            if source.short():
                return False
            yield
            at = source.at
            continue
        at = found.end()
        if quoted:
            at += escape
            quoted = escape
        elif found[0] == '"':
            quoted = True
        else:
            depth += 1 if found[0] in "{[" else -1
            if depth == 0:
                emit(source.text[source.at : at])
                source.at = at
                return True


def string(source: Source) -> Reading[str | None]:
    """The string that begins here; None if there is none, or the text ends inside it."""
    if (yield from source.peek()) != '"':
        return None
    offset = 1
    while True:
        found = _IN_STRING.search(source.text, source.at + offset)
        if found is not None and found[0] == '"':
            raw = source.text[source.at : found.end()]
            source.at = found.end()
            try:
                value = json.loads(raw, strict=False)
            except ValueError:
                return None
            return value if isinstance(value, str) else None
        if found is not None and found.end() < len(source.text):
            offset = found.end() + 1 - source.at
            continue
        if source.short():
            return None
        offset = (len(source.text) if found is None else found.start()) - source.at
        yield


def scalar(source: Source) -> Reading[str]:
    """The number or the word that begins here, "" if there is none."""
    offset = 0
    while True:
        found = _SCALAR.match(source.text, source.at + offset)
        end = source.at if found is None else found.end()
        if end < len(source.text) or end - source.at > _LONGEST or source.short():
            text = source.text[source.at : end]
            source.at = end
            return text
        offset = end - source.at
        yield


def value(source: Source, emit: Callable[[str], None]) -> Reading[bool]:
    """Pass on any value that begins here; False if there is none, or the text ends inside it."""
    first = yield from source.peek()
    if first in {"{", "["}:
        return (yield from container(source, emit))
    if first == '"':
        text = yield from string(source)
        if text is not None:
            emit(json.dumps(text, ensure_ascii=False))
        return text is not None
    text = yield from scalar(source)
    emit(text)
    return bool(text)
