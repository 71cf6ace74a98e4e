"""Calls with a head and plain JSON arguments: `[TOOL_CALLS]name[ARGS]{…}` and the like.

Mistral, Kimi, DeepSeek, Functionary and Solar write so. A head that does not have the form, or
names no tool which may be called, is content. Imported by `families`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from engine.chat_syntax import json_values
from engine.chat_syntax.json_calls import JsonCalls
from engine.chat_syntax.source import Reading, Source
from engine.chat_syntax.syntax import Sink

_HEAD: Final = 400


@dataclass(frozen=True, slots=True)
class HeadedCalls:
    """`call` begins each call, `head` is what is between it and the brace, with the group `name`.

    `ends` are texts at the end of a head after which arguments follow for certain. `sections` may
    come before the first call, `tails` after each one. `json` reads calls that are JSON altogether
    although they begin with the same mark.
    """

    call: str
    head: re.Pattern[str]
    ends: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    json: JsonCalls | None = None
    bare: bool = False

    @property
    def starts(self) -> tuple[str, ...]:
        """A section, or a call without one."""
        return (*self.sections, self.call)

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks; `others` are those within heads."""
        return (*self.sections, self.call, *self.tails, *self.others)

    def read(self, source: Source, sink: Sink) -> Reading[None]:
        """Calls, one after the other."""
        if (yield from source.take_any(self.sections)):
            yield from source.spaces()
        while (yield from source.take(self.call)):
            if self.json is not None and (yield from source.peek()) == "[":
                yield from self.json.read(source, sink)
                return
            head = yield from source.until("{", _HEAD)
            found = None if head is None else self.head.fullmatch(head)
            if found is None or not sink.begin(source, found["name"]):
                return
            source.at -= 1
            if not (yield from json_values.container(source, sink.arguments)):
                return
            source.pin()
            yield from source.spaces()
            while (yield from source.take_any(self.tails)):
                yield from source.spaces()
                source.unpin()
                source.pin()
        source.back()
