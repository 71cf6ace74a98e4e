"""The readers under test: each takes bytes and may raise only what it declares.

Any other exception escapes and is a finding. Pure but for a temporary file of the GGUF reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.backends.upstream import exposition
from engine.execution import frames
from engine.gateway import errors, request_bodies
from engine.gateway.http.parser import Head, Parser
from engine.registry import gguf_header
from engine.serving import framing
from storage.control_socket import verbs
from storage.control_socket.verbs import BadArguments

_CHAT: Final = request_bodies.Reader(request_bodies.Chat)
_TEXT: Final = request_bodies.Reader(request_bodies.Completion)


class _Events:
    """Takes what was parsed."""

    def request(self, head: Head) -> None:
        """Its text is text."""
        head.path.encode(errors="surrogatepass")

    def body(self, data: bytes) -> None:
        """Any."""

    def complete(self) -> None:
        """Any."""


def http_requests(data: bytes) -> None:
    """The bytes of one connection, in pieces of which the first byte tells the size."""
    parser = Parser(_Events(), head_bytes=8_192)
    size = (data[0] if data else 0) + 1
    with contextlib.suppress(errors.Problem):
        for start in range(1, len(data), size):
            parser.feed(data[start : start + size])


def chat_body(data: bytes) -> None:
    """The body of a chat completion, down to what execution is given."""
    with contextlib.suppress(errors.Problem):
        body = _CHAT.read(data)
        body.input()
        body.options()


def text_body(data: bytes) -> None:
    """The body of a text completion."""
    with contextlib.suppress(errors.Problem):
        body = _TEXT.read(data)
        body.input()
        body.options()


def worker_frames(data: bytes) -> None:
    """A stream of frames from the gateway, in two pieces."""
    with contextlib.suppress(framing.FrameError):
        splitter = framing.Splitter()
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            for body in splitter.feed(piece):
                framing.decode_inbox(body)


def gateway_frames(data: bytes) -> None:
    """A stream of frames from a worker."""
    with contextlib.suppress(framing.FrameError):
        for body in framing.Splitter().feed(data):
            framing.decode_outbox(body)


def frame_bodies(data: bytes) -> None:
    """The body of one frame, either way: what lies behind a sound length."""
    for decode in (framing.decode_inbox, framing.decode_outbox):
        with contextlib.suppress(framing.FrameError):
            decode(data)


def job_frames(data: bytes) -> None:
    """A request at the gateway's internal socket."""

    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        with contextlib.suppress(frames.FrameError, asyncio.IncompleteReadError):
            await frames.read_request(reader)

    asyncio.run(read())


def gguf_headers(data: bytes) -> None:
    """The header of a model file."""
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(gguf_header.Broken):
            gguf_header.read(Path(file.name))


def intent_arguments(data: bytes) -> None:
    """The arguments of each verb, as the control socket takes them."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = msgspec.json.decode(data, type=dict[str, object])
        for name in verbs.TABLE:
            with contextlib.suppress(BadArguments):
                verbs.parse(name, document)


def metrics_of_upstreams(data: bytes) -> None:
    """What an upstream answers at its metrics path."""
    exposition.read(data.decode(errors="replace"))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (
        http_requests, chat_body, text_body, worker_frames, gateway_frames, frame_bodies,
        job_frames,
        gguf_headers, intent_arguments, metrics_of_upstreams,
    )
}  # fmt: skip
