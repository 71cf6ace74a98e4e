"""People on the box: silent, hostile and broken peers of its control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from pathlib import Path

from storage.home.paths import Home
from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target


async def _hold(target: Target, count: int, first: bytes) -> str:
    path = str(Home(Path(target.home)).control_socket)
    ends: Counter[str] = Counter()

    async def one() -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(first)
            await reader.read()
            ends["closed"] += 1
            writer.close()
        except OSError as error:
            ends[type(error).__name__] += 1

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*(one() for _ in range(count)))
        await asyncio.Event().wait()
    return attack.counted(ends)


@attack.attack
async def silent_peers_of_the_control_socket(target: Target) -> str:
    """Eighty connections without a byte."""
    return await _hold(target, 80, b"")


@attack.attack
async def deep_json_at_the_control_socket(target: Target) -> str:
    """A hundred thousand brackets."""
    return await _hold(target, 20, b"[" * 100_000 + b"\n")


@attack.attack
async def thousands_of_requests_at_the_control_socket(target: Target) -> str:
    """One person turns a knob as fast as the node takes it, with a long reason each time."""
    path = str(Home(Path(target.home)).control_socket)
    ends: Counter[str] = Counter()
    document = {
        "do": "intent", "verb": "knobs.set", "target": "ops-1.0.0", "reason": "because " * 240,
        "arguments": {"name": "queue_limit", "value": 100},
    }  # fmt: skip
    line = json.dumps(document).encode() + b"\n"

    async def one() -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        while True:
            writer.write(line)
            said = json.loads(await reader.readline())
            ends["accepted" if said["ok"] else said["error"]["code"]] += 1

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*(one() for _ in range(8)))
    return attack.counted(ends)
