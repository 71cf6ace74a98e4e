"""Server-sent events: however the bytes are cut, the same events; and never too many of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.upstream import sse
from engine.backends.upstream.sse import Event

STREAMS = st.lists(
    st.sampled_from(
        [b"data: one", b"data:two", b"data", b": a comment", b"event: ping", b"id: 7", b"retry: 9",
         b"error: {}", b"", b"", "data: é\N{SNOWMAN}".encode(), b"data: a:b", b"unknown: field"]
    ),
    max_size=24,
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def parsed(*chunks: bytes, limit: int = sse.EVENT_LIMIT) -> list[Event]:
    """All events of a stream that comes in these chunks."""
    parser = sse.Parser(limit)
    return [event for chunk in chunks for event in parser.feed(chunk)]


@given(lines=STREAMS, end=ENDS, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_chunks_may_end_anywhere(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    """Between a carriage return and its line feed, inside a letter, after a colon."""
    stream = b"".join(line + end for line in lines) + b":\n"
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert parsed(*chunks) == parsed(stream)


@given(lines=STREAMS)
def test_the_kind_of_line_end_is_no_matter(lines: list[bytes]) -> None:
    """LF, CRLF and CR are the same; a comment at the end decides what a last CR was."""
    streams = [b"".join(line + end for line in lines) for end in (b"\n", b"\r\n", b"\r")]
    first, *others = [parsed(stream, b":\n") for stream in streams]
    assert others == [first, first]


def test_fields_are_those_of_the_specification() -> None:
    """Data lines are joined, one space is dropped, comments and unknown fields mean nothing."""
    stream = (
        b"\xef\xbb\xbf: hi\nevent: more\ndata:  a\ndata: b\nid: 1\n\ndata: [DONE]\n\nevent: x\n\n"
    )
    assert parsed(stream) == [Event("more", b" a\nb"), Event("message", b"[DONE]")]


def test_an_event_that_is_cut_off_is_none() -> None:
    """Half an event at the end of a stream is never taken for a whole one."""
    assert parsed(b'data: {"a": 1}\n') == []
    assert parsed(b'data: {"a"') == []


def test_llama_servers_old_error_field_is_an_event() -> None:
    """It wrote `error: {...}` where the specification has no such field."""
    assert parsed(b'error: {"code":500}\n\n') == [Event("error", b'{"code":500}')]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 101],
        [b"x" * 60, b"x" * 60],
        [b"data: " + b"x" * 40 + b"\n"] * 3,
        [b"data: x\n"] * 60,
    ],
)
def test_memory_is_bounded_by_the_event(chunks: list[bytes]) -> None:
    """A line without end, and an event of many lines without end, are refused alike."""
    with pytest.raises(sse.TooLong):
        parsed(*chunks, limit=100)


def test_a_line_in_many_pieces_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a megabyte in pieces of a packet each would be searched a thousand times."""
    searched = []

    class Counting:
        def split(self, data: bytes) -> list[bytes]:
            searched.append(len(data))
            return line_end.split(data)

    line_end = sse._LINE_END
    monkeypatch.setattr(sse, "_LINE_END", Counting())
    pieces = [b"data: ", *[b"x" * 100] * 1_000, b"\r", b"\n\r", b"\n"]
    assert parsed(*pieces) == [Event("message", b"x" * 100_000)]
    assert sum(searched) <= 2 * len(b"".join(pieces))
