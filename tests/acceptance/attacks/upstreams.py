"""Servers that answer for a release, and answer what no client of theirs expects.

The attacker is the server: the box sends its own requests to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, post

SERVICE: Final = "hostile"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

EVENTS: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


async def _answer_with(target: Target, answer: Answer, clients: int = 4) -> str:
    """Serve `answer` where the box looks for the upstream, and ask the box for it."""
    request = post(target, {"model": SERVICE, "prompt": "Order", "max_tokens": 8, "stream": True})

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if head.startswith(b"get "):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" + b'{"data":[]}')
                    continue
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                await answer(writer)
        writer.close()

    async def one(_: int) -> str:
        return str(await attack.answered(target, request))

    server = await asyncio.start_server(served, "127.0.0.1", target.upstream_port)
    try:
        return await attack.again(one, clients=clients, pause_s=0.1)
    finally:
        server.close()


def _endless(first: bytes, again: bytes) -> Answer:
    """First the one, then the other for ever, as fast as it is taken."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        again_and_again = again * (65_536 // len(again) + 1)
        while True:
            writer.write(again_and_again)
            await writer.drain()

    return answer


def _slowly(first: bytes, again: bytes, pause_s: float) -> Answer:
    """First the one, then the other for ever, with a pause before each."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        for _ in itertools.count():
            await asyncio.sleep(pause_s)
            writer.write(again)
            await writer.drain()

    return answer


def _once(data: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return answer


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _document(status: int, body: bytes, *headers: bytes) -> bytes:
    head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n" % status
    lines = b"".join(each + b"\r\n" for each in headers)
    return head + lines + b"content-length: %d\r\n\r\n" % len(body) + body


@attack.attack
async def an_upstream_of_interim_responses(target: Target) -> str:
    """`100 Continue` for ever: each is a whole response head."""
    return await _answer_with(target, _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))


@attack.attack
async def an_upstream_whose_head_does_not_end(target: Target) -> str:
    """Header after header."""
    return await _answer_with(target, _endless(b"HTTP/1.1 200 OK\r\n", b"x-a: aaaaaaaaaa\r\n"))


@attack.attack
async def an_upstream_whose_head_drips(target: Target) -> str:
    """A byte of a header ten times a second."""
    return await _answer_with(target, _slowly(b"HTTP/1.1 200 OK\r\nx: ", b"y", 0.1), clients=100)


@attack.attack
async def an_upstream_of_comments(target: Target) -> str:
    """Comments as fast as they are read."""
    return await _answer_with(target, _endless(EVENTS, _chunk(b":\n\n")))


@attack.attack
async def an_upstream_of_one_byte_chunks(target: Target) -> str:
    """One line that does not end, each byte of it a chunk."""
    return await _answer_with(target, _endless(EVENTS + _chunk(b"data: "), _chunk(b"x")))


@attack.attack
async def an_upstream_whose_line_does_not_end(target: Target) -> str:
    """The same in pieces of 64 bytes."""
    return await _answer_with(target, _endless(EVENTS + _chunk(b"data: "), _chunk(b"x" * 64)))


@attack.attack
async def an_upstream_whose_document_does_not_end(target: Target) -> str:
    """A document in chunks of one byte instead of a stream."""
    head = EVENTS.replace(b"text/event-stream", b"application/json")
    return await _answer_with(target, _endless(head, _chunk(b" ")))


@attack.attack
async def an_upstream_of_empty_tokens(target: Target) -> str:
    """Events without text, for ever."""
    event = b'data: {"choices": [{"index": 0, "text": "", "finish_reason": null}]}\n\n'
    return await _answer_with(target, _endless(EVENTS, _chunk(event)))


@attack.attack
async def an_upstream_of_large_errors(target: Target) -> str:
    """A megabyte of nested JSON with status 500."""
    body = b'{"error":{"message":' + b"[" * 500_000 + b"]" * 500_000 + b"}}"
    return await _answer_with(target, _once(_document(500, body)))


@attack.attack
async def an_upstream_that_compresses(target: Target) -> str:
    """A gigabyte of zeros as a megabyte of gzip."""
    bomb = gzip.compress(b"\0" * 100_000_000)
    return await _answer_with(target, _once(_document(200, bomb, b"content-encoding: gzip")))


@attack.attack
async def an_upstream_that_redirects(target: Target) -> str:
    """To a file, and to the box itself."""
    places = (b"file:///etc/passwd", b"http://127.0.0.1:%d/v1/completions" % target.port)
    replies = itertools.cycle([_document(307, b"{}", b"location: " + each) for each in places])

    async def answer(writer: asyncio.StreamWriter) -> None:
        await _once(next(replies))(writer)

    return await _answer_with(target, answer)


@attack.attack
async def an_upstream_of_wrong_lengths(target: Target) -> str:
    """Fewer bytes than it says, more, and bytes that are not UTF-8."""
    event = b'data: {"choices": [{"index": 0, "text": "\xff\xfe", "finish_reason": "stop"}]}\n\n'
    replies = itertools.cycle(
        [
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 3\r\n\r\n"
            + event,
            EVENTS + _chunk(event),
        ]
    )

    async def answer(writer: asyncio.StreamWriter) -> None:
        await _once(next(replies))(writer)

    return await _answer_with(target, answer)
