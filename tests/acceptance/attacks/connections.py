"""Peers that hold connections, or speak something else than one HTTP/1.1 request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, head, open_connection, post

MANY: Final = 300
GET: Final = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
HELLO: Final = bytes.fromhex("16030100c8010000c40303") + os.urandom(192)
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def _hold(target: Target, count: int, first: Callable[[int], bytes], drip: bytes) -> str:
    """Open connections, send `first`, then `drip` once a second for as long as they are open."""
    ends: Counter[str] = Counter()

    async def one(number: int) -> None:
        try:
            reader, writer = await open_connection(target)
            writer.write(first(number))
            await writer.drain()
            while not reader.at_eof():
                await asyncio.sleep(1)
                if drip:
                    writer.write(drip)
                    await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(65_536), 0.01)
            ends["closed"] += 1
            writer.close()
        except OSError:
            ends["reset or refused"] += 1

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait(tasks)  # unlike gather, leaves them running when it is cancelled
    open_still = sum(not task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    return f"{attack.counted(ends)}, open at the end: {open_still}"


@attack.attack
async def a_byte_after_the_answer(target: Target) -> str:
    """Keep-alive connections that have had their answer and send an empty line each second."""
    return await _hold(target, MANY, lambda _: GET, b"\r\n")


@attack.attack
async def a_body_after_the_refusal(target: Target) -> str:
    """A body whose request was refused (401), byte by byte."""
    return await _hold(target, MANY, lambda _: head(target, 100_000, key=False), b"x")


@attack.attack
async def dripping_bodies(target: Target) -> str:
    """Bodies of a valid key that arrive a byte a second."""
    return await _hold(target, MANY, lambda _: head(target, 100_000), b" ")


@attack.attack
async def half_bodies(target: Target) -> str:
    """Bodies of a valid key of which half is sent at once and the rest never."""
    return await _hold(target, 100, lambda _: head(target, 3_000_000) + b" " * 1_500_000, b"")


@attack.attack
async def silent_connections(target: Target) -> str:
    """Connections without a byte."""
    return await _hold(target, 600, lambda _: b"", b"")


@attack.attack
async def dripping_heads(target: Target) -> str:
    """Heads that arrive a byte a second."""
    return await _hold(target, MANY, lambda _: b"GET /healthz HTTP/1.1\r\nx: ", b"y")


@attack.attack
async def strange_protocols(target: Target) -> str:
    """TLS, HTTP/2 and noise, again and again."""
    noise = random.Random(3)
    openings = (HELLO, PREFACE, noise.randbytes(4_000), b"\0" * 70_000, b"GET / HTTP/9.9\r\n\r\n")

    async def one(number: int) -> None:
        reader, writer = await open_connection(target)
        writer.write(openings[number % len(openings)])
        await reader.read(65_536)
        writer.close()

    return await attack.again(one)


@attack.attack
async def pipelines(target: Target) -> str:
    """Requests sent before the answer to the one before, cut off in odd places."""
    whole = post(target, {"model": "ops", "prompt": "Order 214", "max_tokens": 1})
    sends = (whole + whole, whole + whole[:30], GET * 50, GET + whole + GET, whole[:-1])

    async def one(number: int) -> None:
        reader, writer = await open_connection(target)
        writer.write(sends[number % len(sends)])
        writer.write_eof()
        while await reader.read(65_536):
            pass
        writer.close()

    return await attack.again(one)


@attack.attack
async def readers_that_do_not_read(target: Target) -> str:
    """Streams of a valid key whose client never reads."""
    document = {"model": "ops", "prompt": "Order", "max_tokens": 200, "stream": True, "n": 2}
    request = post(target, document)

    async def one(_number: int) -> None:
        _reader, writer = await open_connection(target)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(1)
        writer.transport.abort()

    return await attack.again(one, clients=32)


@attack.attack
async def clients_that_disconnect(target: Target) -> str:
    """Requests whose client is gone before the answer."""
    request = post(target, {"model": "ops", "prompt": "Order", "max_tokens": 64})

    async def one(_number: int) -> None:
        _reader, writer = await open_connection(target)
        writer.write(request)
        await writer.drain()
        writer.transport.abort()

    return await attack.again(one, clients=16, pause_s=0.05)
