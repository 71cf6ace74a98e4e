"""The client of the node's control socket: hand in intents and wait for their outcome.

The kernel tells the node who asks; `exchange` sends a request and receives its answer. Never
decides and never writes to the store. Imported by `app` and `runbooks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from storage.control_socket import exchange, nudges
from storage.control_socket.exchange import LINE_LIMIT
from storage.errors import ControlSocketError, NodeIsDown, NotAllowed, Refused, Unanswered
from storage.home import lock
from storage.home.paths import Home

if TYPE_CHECKING:  # asking at the control socket needs no database
    from storage.intents import Intent
    from storage.store import Store

__all__ = [
    "LINE_LIMIT", "Accepted", "ControlSocketError", "NodeIsDown", "NotAllowed", "Person", "Refused",
    "Unanswered", "ask", "new_key", "preview", "state", "stop", "wait", "who",
]  # fmt: skip

OUTCOME_S: Final = 5.0
_LOOK_S: Final = 0.25
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
        said = await exchange.answer(home, asked)
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
        said = await exchange.answer(home, asked, answer_s=OUTCOME_S)
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
    said = await exchange.answer(home, {"do": "preview", "arguments": arguments})
    said.pop("ok", None)
    return said


async def stop(home: Home, *, reason: str = "") -> None:
    """Ask the node to drain and exit; it records who asked and why, and answers first.

    Raises:
        Unanswered: it did not answer; it may stop all the same.
    """
    try:
        await exchange.answer(home, {"do": "stop", "reason": reason})
    except Unanswered as error:
        raise Unanswered(
            f"{exchange.node_in_words(home)} did not answer, and it is not known whether it will "
            "stop; `paddock status` shows whether it still runs."
        ) from error


async def backed_up(home: Home, to: str, *, reason: str = "") -> None:
    """Have the node record that this user copied the store to a file.

    Raises:
        StorageError: it did not record it; the message says why.
    """
    await exchange.answer(home, {"do": "backup", "target": to, "reason": reason})


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
        return await exchange.answer(home, {"do": do})
    except Unanswered as error:
        holder = lock.holder(home.lock)
        advice = (
            "start it with `paddock serve`"
            if holder is None
            else f"if it stays so, end it with `kill -9 {holder}` and start `paddock serve`"
        )
        raise NodeIsDown(
            f"{exchange.node_in_words(home, holder)} does not answer; {advice}."
        ) from error
