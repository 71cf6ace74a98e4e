"""The protocol of the gateway's internal socket: a request, then the events of its execution.

A frame is four bytes of big-endian length and a msgpack map. A connection carries one request; the
client closes it to cancel. Imported by `engine.execution.client` and the gateway's server of it.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final, TypeVar

import msgspec

from engine.execution import failures
from engine.execution.job import Event, Job, Message, Score, Scored

FRAME_LIMIT: Final = 16 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")

T = TypeVar("T")


class FrameError(Exception):
    """The peer sent bytes that are not a frame of this protocol."""


class RunJob(msgspec.Struct, frozen=True, tag="run"):
    """Execute a job; it is cancelled `deadline_us` after it was received."""

    job: Job
    deadline_us: int


class RunScore(msgspec.Struct, frozen=True, tag="score"):
    """Score a continuation within `deadline_us`."""

    score: Score
    deadline_us: int


class RunPreview(msgspec.Struct, frozen=True, tag="preview"):
    """Render a prompt version, and count its tokens by a model, within `deadline_us`."""

    prompt_id: int
    variables: dict[str, Any]
    model: str | None
    user: str | None
    deadline_us: int


Request = RunJob | RunScore | RunPreview


class Events(msgspec.Struct, frozen=True, tag="events"):
    """A batch of events; the last one holds the last `Finished`."""

    events: tuple[Event, ...]


class Result(msgspec.Struct, frozen=True, tag="result"):
    """A continuation was scored."""

    scored: Scored


class Previewed(msgspec.Struct, frozen=True, tag="previewed"):
    """The messages; their tokens by `model`, or None and `why` they were not counted."""

    messages: tuple[Message, ...]
    tokens: int | None
    model: str
    why: str


class Failed(msgspec.Struct, frozen=True, tag="failed", kw_only=True):
    """A `failures.Failure`; `kind` is the name of its class."""

    kind: str
    message: str
    code: str
    param: str | None
    retry_after_us: int
    release_fault: bool


Response = Events | Result | Previewed | Failed

_KINDS: Final = {
    kind.__name__: kind
    for kind in (
        failures.Invalid,
        failures.Unknown,
        failures.Overloaded,
        failures.Unavailable,
        failures.Broken,
    )
}
_encoder: Final = msgspec.msgpack.Encoder()
_requests: Final = msgspec.msgpack.Decoder(Request)
_responses: Final = msgspec.msgpack.Decoder(Response)


def failed(failure: failures.Failure) -> Failed:
    """A failure as a message."""
    return Failed(
        kind=type(failure).__name__,
        message=failure.message,
        code=failure.code,
        param=failure.param,
        retry_after_us=failure.retry_after_us,
        release_fault=failure.release_fault,
    )


def failure(failed: Failed) -> failures.Failure:
    """The failure in a message."""
    return _KINDS.get(failed.kind, failures.Broken)(
        failed.message,
        code=failed.code,
        param=failed.param,
        retry_after_us=failed.retry_after_us,
        release_fault=failed.release_fault,
    )


def encode(message: Request | Response) -> bytes:
    """A message with its length before it.

    Raises:
        FrameError: it is larger than a frame can be.
    """
    body = _encoder.encode(message)
    if len(body) > FRAME_LIMIT:
        raise FrameError(f"a frame of {len(body)} bytes exceeds the limit of {FRAME_LIMIT}")
    return _LENGTH.pack(len(body)) + body


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The request of a client.

    Raises:
        FrameError: it is not a request.
        asyncio.IncompleteReadError: the client has closed the connection.
    """
    return await _read(reader, _requests)


async def read_response(reader: asyncio.StreamReader) -> Response:
    """A response of the gateway.

    Raises:
        FrameError: it is not a response.
        asyncio.IncompleteReadError: the gateway has closed the connection.
    """
    return await _read(reader, _responses)


async def _read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[T]) -> T:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > FRAME_LIMIT:
        raise FrameError(f"a frame of {length} bytes exceeds the limit of {FRAME_LIMIT}")
    body = await reader.readexactly(length)
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(str(error)) from error
