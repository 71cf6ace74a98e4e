"""Requests that cost the box a row or a line each: what a client can make it write."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Final

from storage.home.paths import Home
from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, open_connection, post

FEEDBACK: Final = "/v1/feedback"


def _written(target: Target) -> int:
    """Bytes of all logs, the rotated ones included."""
    return sum(each.stat().st_size for each in Home(Path(target.home)).logs.iterdir())


@attack.attack
async def strangers_that_fill_the_logs(target: Target) -> str:
    """Every kind of refused request, without a key; how many bytes of log they came to."""
    before = _written(target)
    long = b"x" * 4_000
    sends = itertools.cycle(
        [
            b"GET /" + long + b" HTTP/1.1\r\nhost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: h\r\nauthorization: Bearer " + long + b"\r\n\r\n",
            b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}",
            b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: -2\r\n\r\n",
            b"\x16\x03\x01" + long,
            b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
            b"GET /%0a%1b[2J" + long + b" HTTP/1.1\r\nhost: h\r\n\r\n",
        ]
    )

    async def one(_: int) -> str:
        return str(await attack.answered(target, next(sends)))

    seen = await attack.again(one, clients=8, pause_s=0.01)
    return f"{seen}; {_written(target) - before} bytes of log"


@attack.attack
async def a_storm_of_feedback(target: Target) -> str:
    """Ratings of one answer and of answers that never were, again and again."""
    reader, writer = await open_connection(target)
    writer.write(post(target, {"model": "ops", "prompt": "Order", "max_tokens": 1}))
    head = await reader.readuntil(b"\r\n\r\n")
    known = head.lower().partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()
    writer.close()

    async def one(number: int) -> str:
        rated = known if number % 2 else f"{number:032x}"
        rating = {"request_id": rated, "score": 1, "comment": "z" * 1_000}
        return str(await attack.answered(target, post(target, rating, FEEDBACK)))

    return await attack.again(one, clients=8, pause_s=0.01)


@attack.attack
async def a_storm_of_cancelled_streams(target: Target) -> str:
    """Streams that are cancelled at their first token."""
    request = post(target, {"model": "ops", "prompt": "Order", "max_tokens": 200, "stream": True})

    async def one(_: int) -> str:
        reader, writer = await open_connection(target)
        writer.write(request)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        await reader.read(1)
        writer.transport.abort()
        return "cancelled"

    return await attack.again(one, clients=16, pause_s=0.01)
