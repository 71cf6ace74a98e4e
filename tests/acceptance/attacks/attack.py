"""What an attack is: a coroutine with a name that gets a target and runs until it is cancelled.

Attacks are listed in the order in which the modules of `MODULES` define them. Starts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

MODULES: Final = (
    "connections", "chunks", "bodies", "floods", "upstreams", "templates", "weights", "records",
    "stores", "people",
)  # fmt: skip


class Target(msgspec.Struct, frozen=True):
    """The box under attack, as an attacker knows it.

    At `upstream_port` of this machine the box expects the server that answers for `hostile`.
    """

    port: int
    key: str
    home: str
    node_pid: int
    upstream_port: int


Run = Callable[[Target], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack; `run` returns what the attacker saw, at the latest when it is cancelled."""

    name: str
    run: Run


_attacks: Final[dict[str, Attack]] = {}


def attack(run: Run) -> Run:
    """Make a coroutine function an attack named like the function."""
    name = run.__name__.replace("_", " ")
    _attacks[name] = Attack(name, run)
    return run


def every() -> list[Attack]:
    """All attacks."""
    names = [f"tests.acceptance.attacks.{module}" for module in MODULES]
    for name in names:
        importlib.import_module(name)
    return sorted(_attacks.values(), key=lambda each: names.index(each.run.__module__))


async def open_connection(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the gateway."""
    return await asyncio.open_connection("127.0.0.1", target.port)


def head(target: Target, length: int, *, key: bool = True, path: str = "/v1/completions") -> bytes:
    """The head of a POST with a body of `length` bytes."""
    authorization = f"authorization: Bearer {target.key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"{authorization}content-length: {length}\r\n\r\n"
    ).encode()


def post(target: Target, document: object, path: str = "/v1/completions") -> bytes:
    """A whole request."""
    body = msgspec.json.encode(document)
    return head(target, len(body), path=path) + body


async def status(reader: asyncio.StreamReader) -> int:
    """The status of the next response, its body read; 0 when the connection was closed."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        if b"content-length" in fields:
            await reader.readexactly(int(fields[b"content-length"]))
        elif fields.get(b"transfer-encoding") == b"chunked":
            await reader.readuntil(b"\r\n0\r\n\r\n")
        return int(lines[0].split()[1])
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return 0


async def answered(target: Target, request: bytes) -> int:
    """The status of the answer to one request on a new connection; 0: none came."""
    reader, writer = await open_connection(target)
    writer.write(request)
    try:
        return await status(reader)
    finally:
        writer.close()


async def again(
    one: Callable[[int], Awaitable[str | None]], clients: int = 8, pause_s: float = 0.02
) -> str:
    """Run it in several tasks again and again until cancelled; how often it ended how."""
    ends: Counter[str] = Counter()

    async def loop(number: int) -> None:
        while True:
            number += clients
            try:
                ends[await one(number) or "done"] += 1
            except OSError as error:
                ends[type(error).__name__] += 1
            await asyncio.sleep(pause_s)

    tasks = [asyncio.create_task(loop(number)) for number in range(clients)]
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    return counted(ends)


def counted(ends: Mapping[str, int]) -> str:
    """`200: 14, 429: 3`."""
    return ", ".join(f"{how}: {count}" for how, count in sorted(ends.items())) or "nothing"
