"""Calls as JSON: an object with a name and arguments, one or several, between marks or without.

Hermes and Qwen write `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, Llama 3 the object
alone with `parameters`, others a list. An object that names no tool which may be called, or holds
something else first, is no call. Imported by `families`.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Final

from engine.chat_syntax import json_values
from engine.chat_syntax.source import Reading, Source
from engine.chat_syntax.syntax import Sink

_NAMES: Final = frozenset({"name", "tool_name", "function"})
_ARGUMENTS: Final = frozenset({"arguments", "parameters"})
_OTHERS: Final = frozenset({"id", "type", "tool_call_id", "index"})
_BETWEEN: Final = (";", ",")


class NoCall(Exception):
    """What was read is no call."""


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """`opens` are the marks before, `close` the one after, "" without.

    `bare`: an object at the start of the content needs no mark. `keyed`: the name of the tool is
    the only key of the object, the arguments its value. `name_key` and `arguments_key` are how the
    models themselves write; others are read as well.
    """

    opens: tuple[str, ...] = ()
    close: str = ""
    bare: bool = False
    keyed: bool = False
    name_key: str = "name"
    arguments_key: str = "arguments"

    @property
    def starts(self) -> tuple[str, ...]:
        """The marks before calls."""
        return self.opens

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks."""
        return (*self.opens, self.close)

    def read(self, source: Source, sink: Sink) -> Reading[None]:
        """One object, several, or a list of them."""
        yield from source.take_any(self.opens)
        yield from source.spaces()
        if (yield from source.peek()) == "[":
            source.at += 1
            yield from self._several(source, sink)
            yield from source.spaces()
            yield from source.take("]")
        else:
            yield from self._several(source, sink)
        if self.close and sink.calls:
            yield from source.spaces()
            yield from source.take(self.close)

    def _several(self, source: Source, sink: Sink) -> Reading[None]:
        """Objects with white space, commas or semicolons between them."""
        while True:
            yield from source.spaces()
            if not source.text.startswith("{", source.at) and (yield from source.peek()) != "{":
                return
            source.pin()
            before = sink.calls
            with contextlib.suppress(NoCall):
                yield from (
                    self._keyed(source, sink) if self.keyed else _Object(source, sink).read()
                )
            if sink.calls == before:
                source.back()
                return
            source.pin()  # what follows is content unless it is another call
            yield from source.spaces()
            yield from source.take_any(_BETWEEN)
            yield from source.spaces()
            if source.text.startswith("{", source.at):
                source.unpin()
                continue
            if self.close or source.text.startswith("]", source.at):
                source.unpin()
            else:
                source.back()
            return

    def _keyed(self, source: Source, sink: Sink) -> Reading[None]:
        source.at += 1
        yield from source.spaces()
        name = yield from json_values.string(source)
        yield from source.spaces()
        if name is None or not (yield from source.take(":")):
            return
        yield from source.spaces()
        if (yield from source.peek()) == "{" and sink.begin(source, name):
            yield from json_values.container(source, sink.arguments)
            yield from source.spaces()
            yield from source.take("}")


class _Object:
    """An object with a name and arguments, in either order; `function` may hold both."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._before = sink.calls
        self._name = ""
        self._waiting = ""

    def read(self) -> Reading[None]:
        """The object; NoCall for another one."""
        source = self._source
        source.at += 1
        while True:
            yield from source.spaces()
            if (yield from source.take("}")):
                if self._sink.calls == self._before:
                    self._begin()
                    self._sink.arguments(self._waiting or "{}")
                return
            key = yield from json_values.string(source)
            yield from source.spaces()
            if key is None or not (yield from source.take(":")):
                raise NoCall
            yield from source.spaces()
            yield from self._member(key, (yield from source.peek()))
            yield from source.spaces()
            yield from source.take(",")

    def _begin(self) -> None:
        if not self._sink.begin(self._source, self._name):
            raise NoCall

    def _member(self, key: str, first: str) -> Reading[None]:
        source, begun = self._source, self._sink.calls > self._before
        if key == "function" and first == "{":
            yield from _Object(source, self._sink).read()
        elif key in _NAMES and not self._name:
            self._name = (yield from json_values.string(source)) or ""
            if self._name not in self._sink.tools:
                raise NoCall
        elif key in _ARGUMENTS and not begun and self._name and first == "{":
            self._begin()
            yield from json_values.container(source, self._sink.arguments)
        elif key in _ARGUMENTS and not begun:
            self._waiting = yield from _whole(source)
        elif not (begun or key in _OTHERS) or not (yield from json_values.value(source, _nothing)):
            raise NoCall


def _whole(source: Source) -> Reading[str]:
    """Arguments as one text: an object, the text of one, or null; NoCall for anything else."""
    parts: list[str] = []
    if not (yield from json_values.value(source, parts.append)):
        raise NoCall
    text = "".join(parts)
    if text.startswith('"'):
        text = json.loads(text)
    if text == "null":
        return "{}"
    if not text.lstrip().startswith("{"):
        raise NoCall
    return text


def _nothing(_: str) -> None:
    """What is skipped."""
