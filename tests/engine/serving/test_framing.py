"""Frames come out as they went in, and what is none is called so."""

from __future__ import annotations

import contextlib
import struct
import types
import typing
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.serving import framing, wire

PLAIN: Final[dict[Any, st.SearchStrategy[Any]]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(st.characters(codec="utf-8"), max_size=12),
    bytes: st.binary(max_size=8),
    bool: st.booleans(),
    types.NoneType: st.none(),
}


def made(kind: Any) -> st.SearchStrategy[Any]:
    """Everything that a type of `wire` allows."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*map(made, arguments))
    if origin is tuple:
        return st.lists(made(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(made(arguments[0]), made(arguments[1]), max_size=3)
    if isinstance(kind, types.UnionType):
        return st.one_of(*map(made, arguments))
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{f.name: made(hints[f.name]) for f in msgspec.structs.fields(kind)})


inboxes = made(wire.Inbox)
outboxes = made(wire.Outbox)


def fed(raw: bytes, sizes: list[int]) -> list[bytes]:
    """The bodies, when the bytes come in pieces of these sizes."""
    splitter, found, at, turn = framing.Splitter(), list[bytes](), 0, 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        found += splitter.feed(raw[at : at + size])
        at, turn = at + size, turn + 1
    return found


@given(st.lists(inboxes, max_size=3), st.lists(st.integers(1, 99), min_size=1, max_size=9))
def test_what_the_gateway_sends_comes_out_as_it_went_in(
    frames: list[wire.Inbox], sizes: list[int]
) -> None:
    """Every item, every field, wherever the stream is cut."""
    raw = b"".join(map(framing.encode, frames))
    assert [framing.decode_inbox(body) for body in fed(raw, sizes)] == frames


@given(st.lists(outboxes, max_size=3), st.lists(st.integers(1, 99), min_size=1, max_size=9))
def test_what_the_worker_sends_comes_out_as_it_went_in(
    frames: list[wire.Outbox], sizes: list[int]
) -> None:
    """Every item, every field, wherever the stream is cut."""
    raw = b"".join(map(framing.encode, frames))
    assert [framing.decode_outbox(body) for body in fed(raw, sizes)] == frames


@given(inboxes, st.data())
def test_a_frame_that_is_not_whole_is_not_handed_out(
    frame: wire.Inbox, data: st.DataObject
) -> None:
    """Its end may still come; its body cut short is called what it is."""
    raw = framing.encode(frame)
    cut = data.draw(st.integers(0, len(raw) - 1))
    assert framing.Splitter().feed(raw[:cut]) == []
    body = raw[4:]
    with pytest.raises(framing.FrameError, match="truncated"):
        framing.decode_inbox(body[: min(cut, len(body) - 1)])


def submit(text: str, id: int = 0) -> wire.Submit:
    """A request with this prompt."""
    return wire.Submit(
        id=id, adapter="", prompt=(wire.Segment(text, special=False),),
        sampling=wire.Sampling(0.0, 0, 1.0, 0.0, id), max_tokens=1, stop=(), class_=0, tenant="t",
        queue_us=1, logprobs=-1,
    )  # fmt: skip


def test_a_prompt_that_many_read_travels_once() -> None:
    """The most choices of a large prompt fit, and the worker sees that it is one prompt."""
    text = "order 17 " * 70_000
    many = tuple(submit(text, id) for id in range(128))
    (raw,) = framing.frames(many)
    assert len(raw) < 2 * len(text)
    (body,) = framing.Splitter().feed(raw)
    found = framing.decode_inbox(body).items
    assert found == many
    assert len({id(item.prompt) for item in found if isinstance(item, wire.Submit)}) == 1


def test_a_prompt_that_many_read_is_compared_once() -> None:
    """A hundred thousand token ids take a while."""
    hashed = 0

    class Text(str):
        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal hashed
            hashed += 1
            return super().__hash__()

    prompt = (wire.Segment(Text("one"), special=False),)
    many = [wire.Tokenise(id, "", prompt, bos=False, queue_us=1) for id in range(9)]
    packed = framing._pack(wire.Inbox(tuple(many)))
    assert (packed.reads, hashed) == ((0,) * 9, 1)


def test_no_frame_exceeds_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items beyond one frame are sent in several, in order; one that fits none is detected."""
    monkeypatch.setattr(framing, "FRAME_LIMIT", 1000)
    many = tuple(submit(f"{id}" * 100, id) for id in range(9))
    frames = list(framing.frames(many))
    assert len(frames) > 1
    assert max(map(len, frames)) <= 1000
    bodies = framing.Splitter().feed(b"".join(frames))
    assert tuple(item for body in bodies for item in framing.decode_inbox(body).items) == many
    assert (framing.fits(submit("x" * 850)), framing.fits(submit("x" * 1000))) == (True, False)
    with pytest.raises(framing.FrameError, match="Submit"):
        list(framing.frames((submit("x" * 1000),)))


def test_scores_beyond_one_frame_are_sent_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several prompts may be scored to their end in one step."""
    monkeypatch.setattr(framing, "FRAME_LIMIT", 1000)
    token = wire.Logprob(b"x" * 80, -1.0)
    many = tuple(wire.Scored(id, (token,) * 4, 5, 0, 0) for id in range(9))
    bodies = framing.Splitter().feed(b"".join(framing.outboxes(wire.Outbox(many))))
    assert len(bodies) > 1
    assert tuple(item for body in bodies for item in framing.decode_outbox(body).items) == many


@pytest.mark.parametrize("reads", [(), (1,), (-1,)])
def test_a_submit_without_its_prompt_is_no_frame(reads: tuple[int, ...]) -> None:
    """A place that the frame does not have is not made up."""
    body = msgspec.msgpack.encode(((submit("x"),), ((("x", False),),), reads))
    with pytest.raises(framing.FrameError, match="without its prompt"):
        framing.decode_inbox(body)


def test_a_frame_beyond_the_limit_is_refused_before_it_is_read() -> None:
    """By its length alone, which the message names."""
    with pytest.raises(framing.FrameError, match=str(framing.FRAME_LIMIT + 1)):
        framing.Splitter().feed(struct.pack(">I", framing.FRAME_LIMIT + 1))
    assert framing.Splitter().feed(struct.pack(">I", framing.FRAME_LIMIT)) == []


@given(st.binary(max_size=80))
@example(b"\x91\x91\x92\xa9set_knobs\x81\xa1\xff\x01")
@example(b"\x91\x91\x92\xa6cancel\xa1\xff")
@example(b"\x92\x90" + b"\x91" * 100_000)
@example(b"\xc1")
@example(b"")
def test_garbage_is_no_frame_and_nothing_worse(body: bytes) -> None:
    """Text that is no UTF-8 and arrays without end included: there is one kind of error."""
    for decode in (framing.decode_inbox, framing.decode_outbox):
        with contextlib.suppress(framing.FrameError):
            decode(body)
