"""The encoding of frames on a stream socket: four bytes of big-endian length, then msgpack.

A prompt shared by several requests of a frame is sent once. Knows no sockets. Imported by the
worker's end of a connection and by the gateway's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from engine.serving.wire import (
    Detokenise,
    Embed,
    Inbox,
    Outbox,
    Request,
    Score,
    Segment,
    Submit,
    Tokenise,
    ToWorker,
)

FRAME_LIMIT: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class FrameError(Exception):
    """The peer sent bytes that are not a frame; close the connection and reconnect."""


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """An Inbox as sent: requests have no prompt; `reads` holds each one's index in `prompts`."""

    items: tuple[ToWorker, ...]
    prompts: tuple[tuple[Segment, ...], ...] = ()
    reads: tuple[int, ...] = ()


_PER_CHARACTER: Final = 16
"""The most bytes that one character of a prompt takes in a frame, Segment overhead included."""
_encoder: Final = msgspec.msgpack.Encoder()
_inbox: Final = msgspec.msgpack.Decoder(_Packed)
_outbox: Final = msgspec.msgpack.Decoder(Outbox)


def encode(frame: Inbox | Outbox) -> bytes:
    """The frame with its length before it."""
    body = _encoder.encode(_pack(frame) if isinstance(frame, Inbox) else frame)
    return _LENGTH.pack(len(body)) + body


def frames(items: tuple[ToWorker, ...]) -> Iterator[bytes]:
    """The items in as few frames as the limit allows, each with its length before it.

    Raises:
        FrameError: an item is larger than a frame; a Submit or Score is not if it `fits`.
    """
    raw = encode(Inbox(items))
    if len(raw) <= FRAME_LIMIT:
        yield raw
        return
    half = len(items) // 2
    if not half:
        raise FrameError(f"{type(items[0]).__name__} exceeds the limit of {FRAME_LIMIT} bytes")
    yield from frames(items[:half])
    yield from frames(items[half:])


def outboxes(frame: Outbox) -> Iterator[bytes]:
    """A step's frame, in several where it is too large for one and has several items."""
    raw = encode(frame)
    half = len(frame.items) // 2
    if len(raw) <= FRAME_LIMIT or not half:
        yield raw
        return
    yield from outboxes(Outbox(frame.items[:half]))
    yield from outboxes(Outbox(frame.items[half:]))


def fits(request: Request) -> bool:
    """Whether a frame can hold it."""
    if isinstance(request, Detokenise):
        size = len(request.tokens)
    elif isinstance(request, Embed):
        size = sum(len(p) if isinstance(p, str) else 1 for each in request.inputs for p in each)
        size += len(request.query or "")
    else:
        size = sum(len(segment.text) + len(segment.tokens) for segment in request.prompt)
        size += len(request.continuation) if isinstance(request, Score) else 0
    if size * _PER_CHARACTER < FRAME_LIMIT // 2:
        return True
    return len(encode(Inbox((request,)))) <= FRAME_LIMIT


def _pack(inbox: Inbox) -> _Packed:
    places: dict[tuple[Segment, ...], int] = {}
    items: list[ToWorker] = []
    reads: list[int] = []
    last: tuple[Segment, ...] | None = None
    for item in inbox.items:
        if isinstance(item, Submit | Score | Tokenise):
            if item.prompt is last:  # it takes long to compare a long one, and to hash it
                reads.append(reads[-1])
            else:
                last = item.prompt
                reads.append(places.setdefault(last, len(places)))
            items.append(msgspec.structs.replace(item, prompt=()))
        else:
            items.append(item)
    return _Packed(tuple(items), tuple(places), tuple(reads))


def _unpack(packed: _Packed) -> Inbox:
    reads = iter(packed.reads)
    items: list[ToWorker] = []
    for item in packed.items:
        if isinstance(item, Submit | Score | Tokenise):
            place = next(reads, -1)
            if not 0 <= place < len(packed.prompts):
                raise FrameError("a request without its prompt")
            items.append(msgspec.structs.replace(item, prompt=packed.prompts[place]))
        else:
            items.append(item)
    return Inbox(tuple(items))


class Splitter:
    """Splits a byte stream into frame bodies."""

    def __init__(self) -> None:
        """Start at a frame boundary."""
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take received bytes; return the bodies that are complete now."""
        size = _LENGTH.size
        if not self._pending and len(data) == size + int.from_bytes(data[:size]):
            return [data[size:]]  # one frame, as nearly all arrive
        self._pending += data
        bodies: list[bytes] = []
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            if length > FRAME_LIMIT:
                message = f"a frame of {length} bytes exceeds the limit of {FRAME_LIMIT}"
                raise FrameError(message)
            end = _LENGTH.size + length
            if len(self._pending) < end:
                break
            bodies.append(bytes(self._pending[_LENGTH.size : end]))
            del self._pending[:end]
        return bodies


def decode_inbox(body: bytes) -> Inbox:
    """Decode a frame from the gateway.

    Submits that share a prompt hold the same tuple.

    Raises:
        FrameError: the body is not an Inbox.
    """
    try:
        return _unpack(_inbox.decode(body))
    except _UNREADABLE as error:
        raise FrameError(str(error)) from error


def decode_outbox(body: bytes) -> Outbox:
    """Decode a frame from the worker.

    Raises:
        FrameError: the body is not an Outbox.
    """
    try:
        return _outbox.decode(body)
    except _UNREADABLE as error:
        raise FrameError(str(error)) from error
