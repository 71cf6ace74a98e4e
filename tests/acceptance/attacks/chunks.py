"""Bodies in chunked encoding, whose framing is more work than their content."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target, open_connection, status

BODY: Final = msgspec.json.encode({"model": "none", "prompt": "a" * 1_000_000})
"""It has to be read whole before it can be refused, because there is no such model."""


def _head(target: Target, *, key: bool = True) -> bytes:
    authorization = f"authorization: Bearer {target.key}\r\n" if key else ""
    return (
        "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"{authorization}transfer-encoding: chunked\r\n\r\n"
    ).encode()


async def _send(target: Target, request: bytes, clients: int = 4) -> str:
    async def one(_: int) -> str:
        reader, writer = await open_connection(target)
        writer.write(request)
        sent = asyncio.ensure_future(writer.drain())
        answered = await status(reader)
        await asyncio.gather(sent, return_exceptions=True)
        writer.close()
        return str(answered)

    return await attack.again(one, clients=clients)


@attack.attack
async def chunks_of_one_byte(target: Target) -> str:
    """A megabyte, each byte of it a chunk."""
    body = b"".join(b"1\r\n%c\r\n" % each for each in BODY)
    return await _send(target, _head(target) + body + b"0\r\n\r\n")


@attack.attack
async def chunks_of_one_byte_without_a_key(target: Target) -> str:
    """The same from a stranger."""
    body = b"".join(b"1\r\n%c\r\n" % each for each in BODY)
    return await _send(target, _head(target, key=False) + body + b"0\r\n\r\n")


@attack.attack
async def chunks_with_extensions(target: Target) -> str:
    """Each chunk of 100 bytes has extensions of 700."""
    extension = b";a=" + b"b" * 700
    chunks = [BODY[at : at + 100] for at in range(0, len(BODY), 100)]
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in chunks)
    return await _send(target, _head(target) + body + b"0\r\n\r\n")


@attack.attack
async def trailers(target: Target) -> str:
    """Sixty kilobytes of headers behind each body."""
    document = msgspec.json.encode({"model": "none", "prompt": "a"})
    body = b"%x\r\n%b\r\n0\r\n" % (len(document), document)
    return await _send(target, _head(target) + body + b"x: y\r\n" * 10_000 + b"\r\n")
