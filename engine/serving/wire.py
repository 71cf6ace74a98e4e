"""The frames between gateway and worker, and how they travel over a stream socket.

One frame per direction and step, never one per token: four bytes of big-endian length, then a
msgpack array. A prompt that several Submits of a frame read travels once. Knows nothing of HTTP,
of scheduling or of llama.cpp. Imported by the worker and by the gateway's client of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

FRAME_LIMIT: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class FrameError(Exception):
    """The peer sent bytes that are not a frame; close the connection and connect again."""


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a prompt.

    `special` says whether control tokens spelled in `text` are parsed as such: true for what the
    chat template wrote, false for what a client wrote.
    """

    text: str
    special: bool


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """How tokens are drawn; `temperature` 0 is greedy, `top_k` 0, `top_p` 1, `min_p` 0 are off."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int


class Submit(msgspec.Struct, frozen=True, array_like=True, tag="submit"):
    """A sequence to produce.

    `klass` is 0 interactive, 1 batch, 2 background. `max_tokens` counts completion tokens.
    `logprobs` is the number of alternatives wanted per token (0: the chosen one only; -1: none).
    `queue_us` bounds the wait for a first token, counted from arrival at the worker.
    """

    id: int
    lane: str
    prompt: tuple[Segment, ...]
    sampling: Sampling
    max_tokens: int
    stop: tuple[str, ...]
    klass: int
    tenant: str
    queue_us: int
    logprobs: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Forget a sequence at the next step and free what it holds."""

    id: int


class OpenLane(msgspec.Struct, frozen=True, array_like=True, tag="open_lane"):
    """Load an adapter (path and SHA-256 of the file) and give it a context of its own."""

    lane: str
    path: str
    sha256: str


class SetKnobs(msgspec.Struct, frozen=True, array_like=True, tag="set_knobs"):
    """Live knobs by name; absent names keep their value."""

    values: dict[str, int]


ToWorker = Submit | Cancel | OpenLane | SetKnobs


class Inbox(msgspec.Struct, frozen=True, array_like=True):
    """What the gateway has for the worker since its last frame."""

    items: tuple[ToWorker, ...]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The worker's first word on every connection.

    `control_tokens` are the texts that the vocabulary parses as control tokens; `chat_template` is
    the GGUF's own Jinja source or empty; `bos`/`eos` are token texts. `sequence_tokens` is the
    context of one sequence.
    """

    pid: int
    sha256: str
    build: str
    sequence_tokens: int
    max_sequences: int
    vocabulary: int
    chat_template: str
    bos: str
    eos: str
    control_tokens: tuple[str, ...]
    lanes: tuple[str, ...]
    knobs: dict[str, int]


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """One token with its natural-log probability; `raw` is the token's exact bytes."""

    raw: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """The chosen token, and the most likely alternatives, best first."""

    chosen: Logprob
    top: tuple[Logprob, ...]


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one sequence gained in this step.

    `text` is complete UTF-8 and may be empty while a character or a stop string is undecided;
    `tokens` counts the tokens drawn in the step.
    """

    id: int
    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...]


class Finished(msgspec.Struct, frozen=True, array_like=True):
    """A sequence has ended; it follows the sequence's last Delta, in the same frame or later.

    `reason` is stop, length or cancelled. `busy_us` is the worker's wall time apportioned to it.
    """

    id: int
    reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    ttft_us: int
    busy_us: int


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """A sequence was not admitted or cannot go on.

    `code` is queue_full, deadline, too_long, no_lane, empty or engine; `retry_after_us` is the wait
    that would have been, 0 where waiting does not help. `busy_us` is the worker's wall time that
    went into it before.
    """

    id: int
    code: str
    message: str
    retry_after_us: int
    busy_us: int = 0


class Step(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """What one step did, with everything that its sequences gained.

    Times are microseconds: `wall_us` since the end of the step before, `busy_us` of it spent
    computing, `idle_us` spent waiting for work; wall = busy + idle.
    """

    number: int
    lane: str
    wall_us: int
    busy_us: int
    idle_us: int
    prefill_tokens: int
    decode_tokens: int
    running: int
    waiting: int
    oldest_waiting_us: int
    kv_used_tokens: int
    kv_total_tokens: int
    deltas: tuple[Delta, ...]
    finished: tuple[Finished, ...]
    refused: tuple[Refused, ...]


class LaneOpened(msgspec.Struct, frozen=True, array_like=True, tag="lane_opened"):
    """The adapter is loaded and its context produces tokens."""

    lane: str
    sha256: str


class LaneFailed(msgspec.Struct, frozen=True, array_like=True, tag="lane_failed"):
    """The adapter could not be loaded; the other lanes go on."""

    lane: str
    reason: str


class KnobsSet(msgspec.Struct, frozen=True, array_like=True, tag="knobs_set"):
    """The knobs as they are now in force."""

    values: dict[str, int]


FromWorker = Hello | Step | LaneOpened | LaneFailed | KnobsSet


class Outbox(msgspec.Struct, frozen=True, array_like=True):
    """What the worker has for the gateway since its last frame."""

    items: tuple[FromWorker, ...]


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """An Inbox on the line; `reads` says which of `prompts` each of its Submits, bare here, has."""

    items: tuple[ToWorker, ...]
    prompts: tuple[tuple[Segment, ...], ...] = ()
    reads: tuple[int, ...] = ()


_PER_CHARACTER: Final = 16
"""No character of a prompt takes more bytes in a frame, its part of a Segment included."""
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
        FrameError: one of them fits into none; a Submit that `fits` does.
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


def fits(submit: Submit) -> bool:
    """Whether a frame can hold it."""
    characters = sum(len(segment.text) for segment in submit.prompt)
    if characters * _PER_CHARACTER < FRAME_LIMIT // 2:
        return True
    return len(encode(Inbox((submit,)))) <= FRAME_LIMIT


def _pack(inbox: Inbox) -> _Packed:
    places: dict[tuple[Segment, ...], int] = {}
    items: list[ToWorker] = []
    reads: list[int] = []
    for item in inbox.items:
        if isinstance(item, Submit):
            reads.append(places.setdefault(item.prompt, len(places)))
            items.append(msgspec.structs.replace(item, prompt=()))
        else:
            items.append(item)
    return _Packed(tuple(items), tuple(places), tuple(reads))


def _unpack(packed: _Packed) -> Inbox:
    reads = iter(packed.reads)
    items: list[ToWorker] = []
    for item in packed.items:
        if isinstance(item, Submit):
            place = next(reads, -1)
            if not 0 <= place < len(packed.prompts):
                raise FrameError("a Submit without its prompt")
            items.append(msgspec.structs.replace(item, prompt=packed.prompts[place]))
        else:
            items.append(item)
    return Inbox(tuple(items))


class Splitter:
    """Cuts a byte stream into frame bodies."""

    def __init__(self) -> None:
        """Begin with nothing pending."""
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they came; return the bodies that are complete now."""
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
    """What the gateway sent; FrameError when it is not that.

    Submits that read the same prompt hold the same tuple.
    """
    try:
        return _unpack(_inbox.decode(body))
    except _UNREADABLE as error:
        raise FrameError(str(error)) from error


def decode_outbox(body: bytes) -> Outbox:
    """What the worker sent; FrameError when it is not that."""
    try:
        return _outbox.decode(body)
    except _UNREADABLE as error:
        raise FrameError(str(error)) from error
