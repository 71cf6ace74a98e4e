"""Calls whose arguments are tagged one by one: `<parameter=city>Rome</parameter>` and the like.

Qwen3-Coder, GLM, MiniMax, DeepSeek V3.2 and others write so. An argument is text where the tool's
schema says string, else JSON. Imported by `families`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.chat_syntax.source import Reading, Source, overhang
from engine.chat_syntax.syntax import Sink

_HEAD: Final = 300
_CDATA: Final = "<![CDATA["
_QUOTE: Final = re.compile(r'(?<!\\)(?:\\\\)*"')
_NAME: Final = re.compile(r"\s*(?P<name>[^\s\"<>]+)\s*")
_NEXT_TAG: Final = "<"
"""As `call_end`: a name ends at the next tag."""


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """The tags: `call` … `call_end` around the name, `item` … `item_end` around a key.

    `name` and `key` are what is between them, with groups of these names; a key may have the group
    `text`, which says whether the value is a text, and `typed` is how both are written. `value`
    comes before a value, `value_end` after it; `{key}` in it stands for the key. `close` ends a
    call; `sections` may come before the first call, `tails` after each one. `folded`: line breaks
    around a value belong to the tags.
    """

    call: str
    call_end: str
    item: str
    item_end: str
    value_end: str
    close: str
    name: re.Pattern[str] = _NAME
    key: re.Pattern[str] = re.compile(r"\s*(?P<key>.*?)\s*", re.DOTALL)
    typed: str = "{key}"
    value: str = ""
    sections: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()
    folded: bool = False
    bare: bool = False

    @property
    def plain(self) -> bool:
        """Whether a call names its tool and says nothing more of it."""
        return self.name == _NAME

    @property
    def tag_next(self) -> bool:
        """Whether a name ends at the next tag."""
        return self.call_end == _NEXT_TAG

    @property
    def starts(self) -> tuple[str, ...]:
        """A section, or a call without one."""
        return (*self.sections, self.call)

    @property
    def marks(self) -> tuple[str, ...]:
        """All tags."""
        return (
            *self.sections, self.call, self.call_end, self.item, self.item_end, self.value,
            self.value_end, self.close, *self.tails,
        )  # fmt: skip

    def read(self, source: Source, sink: Sink) -> Reading[None]:
        """Calls, one after the other."""
        if (yield from source.take_any(self.sections)):
            yield from source.spaces()
        while (yield from source.take(self.call)):
            name = yield from self._name(source)
            if not name or not sink.begin(source, name):
                return
            if not (yield from self._arguments(source, sink, sink.tools[name])):
                return
            source.pin()
            yield from source.spaces()
            while (yield from source.take_any(self.tails)):
                yield from source.spaces()
                source.unpin()
                source.pin()
            if (yield from source.take_any(self.sections)):
                yield from source.spaces()
        source.back()

    def _name(self, source: Source) -> Reading[str]:
        head = yield from source.until(self.call_end, _HEAD)
        if self.tag_next and head is not None:
            source.at -= 1
        found = None if head is None else self.name.fullmatch(head)
        return "" if found is None else found["name"]

    def _arguments(
        self, source: Source, sink: Sink, schema: Mapping[str, Any] | None
    ) -> Reading[bool]:
        """The arguments as an object; False if the text ends inside it."""
        between = "{"
        while True:
            yield from source.spaces()
            closed = yield from source.take(self.close)
            if closed or not (yield from source.take(self.item)):
                break
            head = yield from source.until(self.item_end, _HEAD)
            found = None if head is None else self.key.fullmatch(head)
            if found is None:
                break
            key = found["key"]
            if self.value:
                yield from source.spaces()
                if not (yield from source.take(self.value)):
                    break
            sink.arguments(f"{between}{json.dumps(key, ensure_ascii=False)}: ")
            between = ", "
            said = found.groupdict().get("text")
            as_text = is_text(schema, key) if said is None else said in {"true", "string"}
            if not (yield from self._value(source, sink, key, as_text=as_text)):
                return False
        if closed or not source.starved:
            sink.arguments("{}" if between == "{" else "}")
        return closed

    def _value(self, source: Source, sink: Sink, key: str, *, as_text: bool) -> Reading[bool]:
        """One value; False if the text ends inside it."""
        end = self.value_end.format(key=key) if "{key}" in self.value_end else self.value_end
        if self.folded:
            yield from source.take("\n")
        if as_text:
            marked = yield from source.take(_CDATA)
            if source.starved:
                return False
            return (yield from self._text(source, sink, f"]]>{end}" if marked else end))
        text = yield from _before(source, end)
        if text is None:
            return False
        if self.folded and text.endswith("\n"):
            text = text[:-1]
        if text.startswith(_CDATA):
            text = text.removeprefix(_CDATA).removesuffix("]]>")
        sink.arguments(_json(text))
        return True

    def _text(self, source: Source, sink: Sink, end: str) -> Reading[bool]:
        """A text, passed on as it comes."""
        ends = (f"\n{end}", end) if self.folded else (end,)
        sink.arguments('"')
        while True:
            places = [(at, each) for each in ends if (at := source.text.find(each, source.at)) >= 0]
            if places:
                at, found = min(places)
                sink.arguments(_escaped(source.text[source.at : at]))
                source.at = at + len(found)
                sink.arguments('"')
                return True
            last = len(source.text) - overhang(source.text[source.at :], ends)
            sink.arguments(_escaped(source.text[source.at : last]))
            source.at = last
            if source.short():
                return False
            yield


def is_text(schema: Mapping[str, Any] | None, key: str) -> bool:
    """Whether a schema says that an argument is a text."""
    properties = (schema or {}).get("properties")
    given = properties.get(key) if isinstance(properties, Mapping) else None
    if not isinstance(given, Mapping):
        return False
    kind = given.get("type")
    if kind is None and isinstance(given.get("enum"), list):
        return all(isinstance(each, str) for each in given["enum"])
    return kind in ("string", ["string"])


def _json(text: str) -> str:
    """A value as JSON: as it is if it is some, else as a text."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text.strip()


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _before(source: Source, end: str) -> Reading[str | None]:
    """The text before an end, and the end; None if the text ends first.

    An end within a string of JSON is part of the value, if another one follows.
    """
    while True:
        found = first = source.text.find(end, source.at)
        while found >= 0 and _quoted(source.text[source.at : found]):
            found = source.text.find(end, found + 1)
        if found < 0 and source.ended:
            found = first
        if found >= 0:
            text = source.text[source.at : found]
            source.at = found + len(end)
            return text
        if source.short():
            return None
        yield


def _quoted(text: str) -> bool:
    """Whether a value of JSON ends within a string."""
    quotes = _QUOTE.findall(text) if text.lstrip()[:1] in {"{", "[", '"'} else []
    return len(quotes) % 2 == 1
