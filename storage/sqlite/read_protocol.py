"""The messages between a user who may read the store and the process that reads it for them.

MessagePack with its length before it, over a Unix socket; one request, one response. Never opens
the store. Imported by both ends: `storage.sqlite.remote_reads` and `engine.reads`.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeVar

import msgspec

REQUEST_LIMIT: Final = 1 << 20
RESPONSE_LIMIT: Final = 32 << 20
LENGTH: Final = struct.Struct("<I")
PARAMETERS: Final = 10_000

T = TypeVar("T")
Value = Any
"""int, float, str, bytes or None; msgspec decodes no union of str and bytes."""


class Execute(msgspec.Struct, frozen=True, tag="execute"):
    """A statement; BEGIN, COMMIT and ROLLBACK are the bounds of a snapshot."""

    sql: str
    parameters: tuple[Value, ...] = ()


class Version(msgspec.Struct, frozen=True, tag="version"):
    """The number that differs after something was written."""


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """All rows of a statement; no columns: it has none."""

    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]


class Number(msgspec.Struct, frozen=True, tag="number"):
    """The version asked for."""

    version: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """An error with SQLite's code."""

    message: str
    code: int


Request = Execute | Version
Response = Rows | Number | Failed

_encoder: Final = msgspec.msgpack.Encoder()
_requests: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_responses: Final[msgspec.msgpack.Decoder[Response]] = msgspec.msgpack.Decoder(Response)


class Malformed(Exception):
    """What arrived is not a message; close the connection."""


def encode(message: Request | Response) -> bytes:
    """A message with its length."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def length(head: bytes, limit: int) -> int:
    """The length of the message that follows.

    Raises:
        Malformed: it exceeds the limit.
    """
    (found,) = LENGTH.unpack(head)
    if found > limit:
        raise Malformed(f"a message of {found} bytes exceeds the limit of {limit}")
    return int(found)


def request(body: bytes) -> Request:
    """Decode a request.

    Raises:
        Malformed: it is none.
    """
    return _decoded(_requests, body)


def response(body: bytes) -> Response:
    """Decode a response.

    Raises:
        Malformed: it is none.
    """
    return _decoded(_responses, body)


def _decoded(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from error
