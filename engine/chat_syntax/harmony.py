"""The answers of gpt-oss: parts with a header each, which says who reads them.

`<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>commentary to=functions.weather
<|constrain|>json<|message|>{…}<|call|>`. Analysis is reasoning, what goes to a function is a call,
the rest is content. Source: the Harmony response format of OpenAI. Imported by `families` and
`parser`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from engine.chat_syntax.source import Reading, Source, overhang
from engine.chat_syntax.syntax import Sink

_MESSAGE: Final = "<|message|>"
_ENDS: Final = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
MARKS: Final = (_MESSAGE, "<|channel|>", "<|constrain|>", *_ENDS)
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*(\w+)")
_TO: Final = re.compile(r"to=(?:functions\.)?([\w.-]+)")
_HEAD: Final = 400


def read(source: Source, sink: Sink) -> Reading[None]:
    """A whole answer; text without a header is content."""
    reasoned = False
    while True:
        if not (yield from source.peek()):
            return
        source.pin()
        head = yield from source.until(_MESSAGE, _HEAD)
        if head is None:
            source.back()
            if source.text.startswith("<|", source.at) and source.ended:
                return  # a header that was cut
            yield from _body(source, sink.content, ())
            return
        source.settle()
        channel, to = _CHANNEL.search(head), _TO.search(head)
        if to is not None and sink.begin(source, to[1]):
            yield from source.spaces()
            yield from _body(source, sink.arguments, _ENDS, whole=False)
            sink.over = sink.full
        elif to is not None and sink.full:
            yield from _body(source, _nothing, _ENDS)
        elif channel is not None and channel[1] == "analysis":
            if reasoned:
                sink.reasoning("\n\n")
            reasoned = True
            yield from _body(source, sink.reasoning, _ENDS)
        else:
            yield from _body(source, sink.content, _ENDS)


def _nothing(_: str) -> None:
    """A call that is one too many."""


def _body(
    source: Source, emit: Callable[[str], None], ends: tuple[str, ...], *, whole: bool = True
) -> Reading[None]:
    """Pass on the text up to one of the ends, and skip that; half an end only of a `whole` text."""
    while True:
        places = [(at, end) for end in ends if (at := source.text.find(end, source.at)) >= 0]
        if places:
            at, end = min(places)
            emit(source.text[source.at : at])
            source.at = at + (0 if end == "<|start|>" else len(end))
            return
        last = len(source.text)
        if not (source.ended and whole):
            last -= overhang(source.text[source.at :], ends)
        emit(source.text[source.at : last])
        source.at = last
        if source.ended:
            return
        yield
