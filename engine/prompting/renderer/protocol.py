"""The frames between the pool and a renderer process.

Four bytes of big-endian length, then msgpack. The process says `Ready` once; then each `Render` has
one answer. A source is sent once per process, and again when the process answers `Missing`. Never
says how templates are compiled. Imported by both sides.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final, Generic, TypeVar

import msgspec

from engine.prompting.renderer.faults import Unencodable
from engine.serving.wire import Segment

LENGTH: Final = struct.Struct(">I")
FRAME_LIMIT: Final = 64 * 1024 * 1024
MEMORY: Final = 512 * 1024 * 1024
"""Bytes that a process may have beyond those in use at its start."""
OUT_OF_MEMORY: Final = 17
"""The exit code of a process that would need more."""


class PromptSource(msgspec.Struct, frozen=True, array_like=True, tag="prompt"):
    """The templates of a prompt version, in order; unknown names are errors."""

    templates: tuple[str, ...]


class ChatSource(msgspec.Struct, frozen=True, array_like=True, tag="chat"):
    """A model's chat template with the texts of its tokens.

    `context_tokens` is the room of one sequence and `longest_token` the bytes of the longest token;
    0 where unknown.
    """

    template: str
    control_tokens: tuple[str, ...]
    bos: str
    eos: str
    context_tokens: int = 0
    longest_token: int = 0


Source = PromptSource | ChatSource
S_co = TypeVar("S_co", bound=Source, covariant=True)


class RenderPrompt(msgspec.Struct, frozen=True, array_like=True, tag="render_prompt"):
    """Render every template of a prompt with these values; answered by `Texts`."""

    values: dict[str, Any]


class RenderChat(msgspec.Struct, frozen=True, array_like=True, tag="render_chat"):
    """Render a conversation; answered by `Segments`.

    Messages and tools have the form of Hugging Face's convention. `fold_system`: each system text
    goes before the next user message. `continued`: the last message is unfinished, and
    nothing comes after its content. `generation_prompt`: the assistant's turn begins at the end.
    `marks` are control tokens of the format, each behind a character that no text of the caller
    has.
    """

    messages: tuple[dict[str, Any], ...]
    arguments: dict[str, Any]
    fold_system: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    continued: bool = False
    generation_prompt: bool = True
    marks: dict[str, str] = {}


class ReadNames(msgspec.Struct, frozen=True, array_like=True, tag="read_names"):
    """Compile only; answered by `Names`."""


Work = RenderPrompt | RenderChat | ReadNames


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """A source, kept under its key; nothing answers this."""

    key: bytes
    source: Source


class Render(msgspec.Struct, frozen=True, array_like=True, tag="render"):
    """Do some work with the source of this key; rendering may use `cpu_s` of processor time."""

    key: bytes
    work: Work
    cpu_s: float


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The process is confined and waits."""


class Missing(msgspec.Struct, frozen=True, array_like=True, tag="missing"):
    """The process does not have the source; send it, and the work again."""


class Texts(msgspec.Struct, frozen=True, array_like=True, tag="texts"):
    """What the templates of a prompt render."""

    texts: tuple[str, ...]


class Segments(msgspec.Struct, frozen=True, array_like=True, tag="segments"):
    """What a chat template renders, cut so that no text of the caller is a control token."""

    segments: tuple[Segment, ...]


class Names(msgspec.Struct, frozen=True, array_like=True, tag="names"):
    """The variables that each template of a prompt uses."""

    names: tuple[tuple[str, ...], ...]


class Fault(msgspec.Struct, frozen=True, array_like=True, tag="fault"):
    """The template failed; `kind` names a class of `faults`."""

    kind: str
    message: str
    line: int
    place: int


Order = Load | Render
Answer = Ready | Missing | Texts | Segments | Names | Fault

_orders: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(Order)
_answers: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)
_encode: Final = msgspec.msgpack.Encoder().encode


class Keyed(Generic[S_co]):
    """A source with the key that identifies it.

    `of` says whose it is: a prompt version by its name, a model by the SHA-256 of its file.
    """

    __slots__ = ("key", "of", "source")

    def __init__(self, source: S_co, of: str = "") -> None:
        """Raises Unencodable for a source that cannot be sent."""
        self.source = source
        self.of = of
        self.key = hashlib.sha256(_body(source)).digest()


def encode(frame: Order | Answer) -> bytes:
    """The frame with its length before it.

    Raises:
        Unencodable: a value in it cannot be sent.
    """
    body = _body(frame)
    if len(body) > FRAME_LIMIT:
        raise Unencodable(f"it has more than {FRAME_LIMIT} bytes")
    return LENGTH.pack(len(body)) + body


def order(body: bytes) -> Order:
    """Decode a frame for the process; errors are msgspec's."""
    return _orders.decode(body)


def answer(body: bytes) -> Answer:
    """Decode a frame of the process; errors are msgspec's."""
    return _answers.decode(body)


def _body(value: object) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError as error:
        raise Unencodable("half of a surrogate pair is not a character") from error
    except (OverflowError, ValueError) as error:
        raise Unencodable("a number in it is too large") from error
    except RecursionError as error:
        raise Unencodable("it is nested too deeply") from error
