"""Gemma's calls: `<|tool_call>call:name{city:<|"|>Rome<|"|>,days:3}<tool_call|>`.

The arguments are JSON but for the marks around texts and for keys without quotes; they become JSON
as they arrive. Imported by `families`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from engine.chat_syntax.source import Reading, Source, overhang
from engine.chat_syntax.syntax import Sink

_CALL: Final = "<|tool_call>"
_CLOSE: Final = "<tool_call|>"
QUOTE: Final = '<|"|>'
_HEAD: Final = re.compile(r"\s*call:(?P<name>[^\s{}]+)\s*")
_LONGEST: Final = 300
_END: Final = re.compile(r"[,}\]]")
DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class GemmaCalls:
    """Has nothing to set."""

    starts: tuple[str, ...] = (_CALL,)
    marks: tuple[str, ...] = (_CALL, _CLOSE, QUOTE)
    bare: bool = False

    def read(self, source: Source, sink: Sink) -> Reading[None]:
        """Calls, one after the other."""
        while (yield from source.take(_CALL)):
            head = yield from source.until("{", _LONGEST)
            found = None if head is None else _HEAD.fullmatch(head)
            if found is None or not sink.begin(source, found["name"]):
                return
            source.at -= 1
            if not (yield from _value(source, sink, DEPTH)):
                return
            source.pin()
            yield from source.spaces()
            if (yield from source.take(_CLOSE)):
                source.unpin()
                source.pin()
                yield from source.spaces()
        source.back()


def _value(source: Source, sink: Sink, depth: int) -> Reading[bool]:
    """Pass on a value as JSON; False if the text ends inside it, or it is none."""
    yield from source.spaces()
    if (yield from source.take(QUOTE)):
        return (yield from _text(source, sink))
    if source.starved:
        return False
    first = yield from source.peek()
    if first in {"{", "["} and depth:
        return (yield from _container(source, sink, first, depth))
    word = (yield from _word(source)).strip()
    try:
        json.loads(word)
    except ValueError:
        sink.arguments(json.dumps(word, ensure_ascii=False) if word else "")
        return bool(word)
    sink.arguments(word)
    return True


def _container(source: Source, sink: Sink, first: str, depth: int) -> Reading[bool]:
    source.at += 1
    sink.arguments(first)
    between, close = "", "}" if first == "{" else "]"
    while True:
        yield from source.spaces()
        if (yield from source.take(close)):
            sink.arguments(close)
            return True
        if between:
            if not (yield from source.take(",")):
                return False
            yield from source.spaces()
        sink.arguments(between)
        if first == "{":
            quoted = yield from source.take(QUOTE)
            key = yield from source.until(f"{QUOTE}:" if quoted else ":", _LONGEST)
            if key is None:
                return False
            sink.arguments(f"{json.dumps(key.strip(), ensure_ascii=False)}: ")
        if not (yield from _value(source, sink, depth - 1)):
            return False
        between = ", "


def _word(source: Source) -> Reading[str]:
    """A number or a word: everything before what ends a value."""
    offset = 0
    while True:
        found = _END.search(source.text, source.at + offset)
        if found is not None or source.short():
            end = len(source.text) if found is None else found.start()
            text = source.text[source.at : end]
            source.at = end
            return text
        offset = len(source.text) - source.at
        yield


def _text(source: Source, sink: Sink) -> Reading[bool]:
    """A text, passed on as it comes."""
    sink.arguments('"')
    while True:
        found = source.text.find(QUOTE, source.at)
        last = found
        if found < 0:
            last = len(source.text) - overhang(source.text[source.at :], (QUOTE,))
        sink.arguments(json.dumps(source.text[source.at : last], ensure_ascii=False)[1:-1])
        source.at = last
        if found >= 0:
            source.at += len(QUOTE)
            sink.arguments('"')
            return True
        if source.short():
            return False
        yield
