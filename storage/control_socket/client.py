"""The client of the node's door: hand in what is wanted, ask who one is, wait for how it ended.

One JSON object a line each way over a Unix socket; the kernel tells the node who asks. Never
decides and never writes to the store. Imported by `app` and `runbooks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from storage import errors
from storage.control_socket import nudges
from storage.errors import DoorError, NodeIsDown, NotAllowed, Refused
from storage.home import access
from storage.home import paths as homes
from storage.home.paths import Home

if TYPE_CHECKING:  # asking at the door needs no database
    from storage.intents import Intent
    from storage.store import Store

__all__ = [
    "Accepted", "DoorError", "NodeIsDown", "NotAllowed", "Person", "Refused",
    "ask", "state", "stop", "wait", "who",
]  # fmt: skip

LINE_LIMIT: Final = 1024 * 1024
ANSWER_S: Final = 15.0
CROWD_S: Final = 10.0  # so long one waits before a door that is busy
_LOOK_S: Final = 0.25
_KNOCK_S: Final = 0.05
_serial: Final = iter(range(1_000_000_000))


class Accepted(msgspec.Struct, frozen=True):
    """The node has stored it; `actor` and `role` are who it was for the node."""

    intent_id: int
    actor: str
    role: str


class Person(msgspec.Struct, frozen=True):
    """Who one is at this door."""

    name: str
    role: str


async def ask(
    home: Home,
    verb: str,
    target: str,
    arguments: Mapping[str, Any],
    reason: str = "",
    seen: int | None = None,
    behalf: int | None = None,
) -> Accepted:
    """Hand in an intent. When this returns it is stored durably and will be decided.

    `seen` is the version of the target that the person saw; `behalf` the intent of the run for
    which the runner asks (the runner alone may).

    Raises:
        NodeIsDown: nobody is behind the door. NotAllowed: the role does not suffice, or the home
            is not open to this user.
        Refused: the verb or its arguments are wrong; the message names the field.
        Unavailable: the node could not store it.
    """
    asked = {
        "do": "intent", "verb": verb, "target": target, "arguments": dict(arguments),
        "reason": reason, "seen": seen,
    }  # fmt: skip
    if behalf is not None:
        asked["behalf"] = behalf
    said = await _ask(home, asked)
    return Accepted(int(said["intent"]), str(said["actor"]), str(said["role"]))


async def who(home: Home) -> Person:
    """Who one is at this door, and what one may do."""
    said = await _ask(home, {"do": "who"})
    return Person(str(said["person"]), str(said["role"]))


async def state(home: Home) -> dict[str, Any]:
    """What the node says of itself: pid, version, started_at_us, processes."""
    said = await _ask(home, {"do": "state"})
    said.pop("ok", None)
    return said


async def stop(home: Home) -> None:
    """Ask the node to drain and leave; it does so after it has answered."""
    await _ask(home, {"do": "stop"})


async def wait(store: Store, intent_id: int, timeout_s: float) -> Intent:
    """The intent as soon as it has ended, or as it stands after `timeout_s`.

    Whoever may not listen in the home, because it is not theirs, looks by the clock.
    """
    from storage import intents  # noqa: PLC0415 asking at the door needs no database

    until = time.monotonic() + timeout_s
    with contextlib.ExitStack() as listening:
        listener = None
        with contextlib.suppress(OSError):  # a home that takes no sockets is looked at by the clock
            listener = listening.enter_context(nudges.listen(store.home, _part()))
        while True:
            async with store.read() as session:
                intent = await intents.find(session, intent_id)
            left = until - time.monotonic()
            if intent.ended_at_us is not None or left <= 0:
                return intent
            if listener is None:
                await asyncio.sleep(min(left, _LOOK_S))
            else:
                await listener.wait(min(left, _LOOK_S))


def _part() -> str:
    return f"wait-{os.getpid()}-{next(_serial)}"


async def _ask(home: Home, asked: Mapping[str, Any]) -> dict[str, Any]:
    try:
        line = msgspec.json.encode(asked) + b"\n"
    except (TypeError, UnicodeEncodeError) as error:
        raise Refused(f"This cannot be sent to the node: {error}") from error
    if len(line) > LINE_LIMIT:
        raise Refused("This is larger than the 1 MiB that the door takes; send less at once.")
    try:
        async with asyncio.timeout(ANSWER_S):
            said = await _answered(home, line)
    except PermissionError as error:
        raise NotAllowed(str(access.closed(home))) from error
    except (OSError, msgspec.DecodeError) as error:
        raise NodeIsDown(
            f"The node of {home.root} does not answer; start it with `paddock serve`."
        ) from error
    if said.get("ok"):
        return said
    raise _refusal(said.get("error") or {})


async def _answered(home: Home, line: bytes) -> dict[str, Any]:
    """Knock until there is room: a crowd before the door is no reason to call the node dead."""
    until = time.monotonic() + CROWD_S
    while True:
        with contextlib.suppress(BlockingIOError):
            said = msgspec.json.decode(await _exchange(home, line), type=dict[str, Any])
            busy = (said.get("error") or {}).get("code") == "busy"
            if not busy or time.monotonic() > until:
                return said
        await asyncio.sleep(_KNOCK_S)


async def _exchange(home: Home, line: bytes) -> bytes:
    with homes.short(home.door) as address:
        reader, writer = await asyncio.open_unix_connection(address, limit=2 * LINE_LIMIT)
    try:
        with contextlib.suppress(ConnectionError):  # who turns us away says why before it closes
            writer.write(line)
            await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


def _refusal(error: Mapping[str, Any]) -> errors.StorageError:
    message = str(error.get("message") or "The node refused and did not say why.")
    kinds = {
        "not_allowed": NotAllowed,
        "store_unavailable": errors.Unavailable,
        "busy": errors.Busy,
    }
    return kinds.get(str(error.get("code")), Refused)(message)
