"""The client of the node's control socket: hand in intents and wait for their outcome.

One JSON object per line, each way, over a Unix socket; the kernel tells the node who asks. Never
decides and never writes to the store. Imported by `app` and `runbooks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from storage import errors
from storage.control_socket import nudges
from storage.errors import ControlSocketError, NodeIsDown, NotAllowed, Refused, Unanswered
from storage.home import access, lock
from storage.home import paths as homes
from storage.home.paths import Home

if TYPE_CHECKING:  # asking at the control socket needs no database
    from storage.intents import Intent
    from storage.store import Store

__all__ = [
    "Accepted", "ControlSocketError", "NodeIsDown", "NotAllowed", "Person", "Refused",
    "Unanswered", "ask", "new_key", "preview", "state", "stop", "wait", "who",
]  # fmt: skip

LINE_LIMIT: Final = 1024 * 1024
ANSWER_S: Final = 15.0
OUTCOME_S: Final = 5.0
CROWD_S: Final = 10.0  # how long a busy control socket is tried
MISSING_S: Final = 1.5  # how long a running node without a control socket is tried
_LOOK_S: Final = 0.25
_RETRY_S: Final = 0.05
_RECEIVE: Final = 65_536
_serial: Final = iter(range(1_000_000_000))


class Accepted(msgspec.Struct, frozen=True):
    """The node has stored the intent; `actor` and `role` are who the node took the client for."""

    intent_id: int
    actor: str
    role: str


class Person(msgspec.Struct, frozen=True):
    """A person as the node knows them."""

    name: str
    role: str


async def ask(
    home: Home,
    verb: str,
    target: str,
    arguments: Mapping[str, Any],
    reason: str = "",
    expected_version: int | None = None,
    on_behalf_of: int | None = None,
    *,
    idempotency_key: str | None = None,
    confirm: str = "",
) -> Accepted:
    """Hand in an intent. When this returns it is stored durably and will be decided.

    `expected_version` is the version of the target that the person saw; `on_behalf_of` the intent
    of the run for which the runner asks (others may not). The same `idempotency_key` stores one
    intent however often it is sent; without one each call is a request of its own. `confirm`
    repeats the target's name where the verb is hard to reverse. When the answer is lost, the node
    is asked what became of the key.

    Raises:
        NodeIsDown: the node is not running. NotAllowed: the role does not suffice, or this user
            may not open the data directory.
        Refused: the verb or its arguments are wrong; the message names the field.
        Unavailable: the node could not store it.
        Unanswered: the node did not answer; the message says what is known of the request.
    """
    key = idempotency_key or new_key()
    asked = {
        "do": "intent", "verb": verb, "target": target, "arguments": dict(arguments),
        "reason": reason, "expected_version": expected_version, "idempotency_key": key,
    }  # fmt: skip
    if on_behalf_of is not None:
        asked["on_behalf_of"] = on_behalf_of
    if confirm:
        asked["confirm"] = confirm
    try:
        said = await _ask(home, asked)
    except Unanswered:
        said = await _outcome(home, key, on_behalf_of)
    return Accepted(int(said["intent"]), str(said["actor"]), str(said["role"]))


def new_key() -> str:
    """An idempotency key that no other request has."""
    return uuid.uuid4().hex


async def _outcome(home: Home, key: str, on_behalf_of: int | None) -> dict[str, Any]:
    """The acknowledgement of a request whose answer was lost."""
    asked: dict[str, Any] = {"do": "outcome", "idempotency_key": key}
    if on_behalf_of is not None:
        asked["on_behalf_of"] = on_behalf_of
    try:
        said = await _ask(home, asked, answer_s=OUTCOME_S)
    except (Unanswered, NodeIsDown) as error:
        raise Unanswered(
            "The node did not answer, and it is not known whether it stored the request; "
            "`paddock intents tail` shows it if it did."
        ) from error
    if said.get("intent") is None:
        raise Unanswered(
            "The node did not answer in time and has not stored the request; "
            "check `paddock intents tail` before you try again."
        )
    return said


async def who(home: Home) -> Person:
    """Who the node takes this process's user for, and their role."""
    said = await _question(home, "who")
    return Person(str(said["person"]), str(said["role"]))


async def state(home: Home) -> dict[str, Any]:
    """The state of the node: pid, version, started_at_us, gateway, trouble, processes."""
    said = await _question(home, "state")
    said.pop("ok", None)
    return said


async def preview(
    home: Home,
    prompt_id: int,
    variables: Mapping[str, Any],
    *,
    model: str | None = None,
    user: str | None = None,
) -> dict[str, Any]:
    """A prompt version rendered with variables: messages, tokens, and the model that counted them.

    Where the tokens were not counted they are None, and `why` says what was missing.

    Raises:
        NodeIsDown: the node is not running. Refused: it cannot be rendered; the message says why.
        Unanswered: the node did not answer in time; nothing was changed.
    """
    arguments = {"prompt_id": prompt_id, "variables": dict(variables), "model": model, "user": user}
    said = await _ask(home, {"do": "preview", "arguments": arguments})
    said.pop("ok", None)
    return said


async def stop(home: Home, *, reason: str = "") -> None:
    """Ask the node to drain and exit; it records who asked and why, and answers first.

    Raises:
        Unanswered: it did not answer; it may stop all the same.
    """
    try:
        await _ask(home, {"do": "stop", "reason": reason})
    except Unanswered as error:
        raise Unanswered(
            f"{_node(home)} did not answer, and it is not known whether it will stop; "
            "`paddock status` shows whether it still runs."
        ) from error


async def backed_up(home: Home, to: str, *, reason: str = "") -> None:
    """Have the node record that this user copied the store to a file.

    Raises:
        StorageError: it did not record it; the message says why.
    """
    await _ask(home, {"do": "backup", "target": to, "reason": reason})


async def wait(store: Store, intent_id: int, timeout_s: float) -> Intent:
    """The intent as soon as it has ended, or as it is after `timeout_s`.

    Polls where this user may not listen for nudges in the data directory.
    """
    from storage import intents  # noqa: PLC0415 asking at the control socket needs no database

    until = time.monotonic() + timeout_s
    with contextlib.ExitStack() as listening:
        listener = None
        with contextlib.suppress(OSError):  # a directory of another user: poll
            listener = listening.enter_context(nudges.listen(store.home, _listener_name()))
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


def _listener_name() -> str:
    return f"wait-{os.getpid()}-{next(_serial)}"


async def _question(home: Home, do: str) -> dict[str, Any]:
    """A request that is safe to repeat: a node that does not answer it is as good as down."""
    try:
        return await _ask(home, {"do": do})
    except Unanswered as error:
        holder = lock.holder(home.lock)
        advice = (
            "start it with `paddock serve`"
            if holder is None
            else f"if it stays so, end it with `kill -9 {holder}` and start `paddock serve`"
        )
        raise NodeIsDown(f"{_node(home, holder)} does not answer; {advice}.") from error


def _node(home: Home, holder: int | None = None) -> str:
    """The node in a sentence, with its process if that is known."""
    holder = holder or lock.holder(home.lock)
    return f"The node of {home.root}" + (f" (process {holder})" if holder else "")


async def _ask(
    home: Home, asked: Mapping[str, Any], answer_s: float | None = None
) -> dict[str, Any]:
    """One request and its answer.

    Raises:
        NodeIsDown: it was not sent. Unanswered: it was sent, and no answer came.
    """
    try:
        line = msgspec.json.encode(asked) + b"\n"
    except (TypeError, UnicodeEncodeError) as error:
        raise Refused(f"This cannot be sent to the node: {error}") from error
    if len(line) > LINE_LIMIT:
        raise Refused("The request is larger than 1 MiB; send less at once.")
    try:
        async with asyncio.timeout(ANSWER_S if answer_s is None else answer_s):
            said = await _answered(home, line)
    except PermissionError as error:
        raise NotAllowed(str(access.closed(home))) from error
    except (OSError, msgspec.DecodeError) as error:
        raise Unanswered(f"The node of {home.root} does not answer.") from error
    if said.get("ok"):
        return said
    raise _refusal(said.get("error") or {})


async def _answered(home: Home, line: bytes) -> dict[str, Any]:
    """Retry while the control socket is busy, or missing although the node runs."""
    now = time.monotonic()
    until, missing_until = now + CROWD_S, now + MISSING_S
    while True:
        try:
            said = msgspec.json.decode(await _exchange(home, line), type=dict[str, Any])
            busy = (said.get("error") or {}).get("code") == "busy"
            if not busy or time.monotonic() > until:
                return said
        except BlockingIOError:  # its backlog is full
            pass
        except errors.Busy:
            if time.monotonic() > missing_until:
                raise
        await asyncio.sleep(_RETRY_S)


async def _exchange(home: Home, line: bytes) -> bytes:
    """The answer to one line.

    A node that is busy says so and closes the connection, perhaps before the line was written.
    asyncio's streams drop what was received when a write fails; a socket does not.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            with homes.short(home.control_socket) as address:
                connection.connect(address)  # a Unix socket connects at once or not at all
        except (PermissionError, BlockingIOError):
            raise
        except OSError as error:
            raise _unreachable(home) from error
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(connection, line)
        answer = bytearray()
        while part := await loop.sock_recv(connection, _RECEIVE):
            answer += part
            if b"\n" in part or len(answer) > 2 * LINE_LIMIT:
                break
        return bytes(answer)


def _unreachable(home: Home) -> errors.StorageError:
    holder = lock.holder(home.lock)
    if holder is None:
        return NodeIsDown(f"The node of {home.root} is not running; start it with `paddock serve`.")
    return errors.Busy(
        f"{_node(home, holder)} runs, but its control socket is not there: it is starting, or the "
        "file was removed and is made again within a second. Try again."
    )


def _refusal(error: Mapping[str, Any]) -> errors.StorageError:
    message = str(error.get("message") or "The node refused and did not say why.")
    kinds = {
        "not_allowed": NotAllowed,
        "store_unavailable": errors.Unavailable,
        "busy": errors.Busy,
    }
    return kinds.get(str(error.get("code")), Refused)(message)
