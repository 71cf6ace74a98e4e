"""Takes the intents of people: verb, role and arguments are checked, then the intent is stored.

An intent is stored durably before it is acknowledged. Never carries one out. Imported by
`engine.node.control_requests`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog

from engine.node.control_protocol import TEXT_LIMIT, Actor, Rejected, Request
from engine.process.peers import Peer
from storage import errors, intents, keys
from storage.control_socket import verbs
from storage.control_socket.verbs import Process
from storage.keys import Role
from storage.store import Session, Store

UNCLAIMED: Final = 500
"""Intents of one person that may wait to be carried out: a few seconds of work."""

_RUNS: Final = verbs.carried_out_by(Process.RUNNER)

_log = structlog.get_logger("node.control_socket")


class Intents:
    """Stores intents, and finds them again by their idempotency keys."""

    def __init__(
        self, store: Store, *, now_us: Callable[[], int], runner: Callable[[], int | None]
    ) -> None:
        """`runner` is the process id of the runner, which alone may ask on behalf of others."""
        self._store = store
        self._now_us = now_us
        self._runner = runner

    async def accept(self, request: Request, actor: Actor, peer: Peer) -> dict[str, Any]:
        """Store an intent; its number, and on whose authority it is.

        Raises:
            Rejected: it is not allowed, or not well formed. StorageError: it could not be stored.
        """
        verb = verbs.TABLE.get(request.verb)
        if verb is None:
            known = ", ".join(sorted(verbs.TABLE))
            raise Rejected("unknown_verb", f"There is no verb {request.verb!r}; known: {known}.")
        actor = await self._authority(request, actor, peer)
        actor.need(verb.role, verb.sentence[:1].lower() + verb.sentence[1:])
        if max(len(request.target), len(request.reason)) > TEXT_LIMIT:
            raise Rejected(
                "bad_arguments", f"Target and reason are limited to {TEXT_LIMIT} characters."
            )
        try:
            parsed = verbs.parse(request.verb, request.arguments)
            verbs.check(verb, target=request.target, confirm=request.confirm, reason=request.reason)
        except verbs.BadArguments as error:
            raise Rejected("bad_arguments", str(error)) from error
        arguments = await self._sealed(request.arguments, parsed)
        number = await self._add(request, actor, arguments)
        _log.info(
            "intent", intent=number, actor=actor.name, verb=request.verb, target=request.target
        )
        return _known(number, actor.name, actor.role.value)

    async def outcome(self, request: Request, actor: Actor, peer: Peer) -> dict[str, Any]:
        """The intent that this client stored under an idempotency key, if it did.

        Raises:
            Rejected: it asks on behalf of another person and may not.
        """
        actor = await self._authority(request, actor, peer)
        async with self._store.read() as s:
            intent = await intents.by_key(
                s,
                request.idempotency_key or "",
                actor=actor.name,
                on_behalf_of=request.on_behalf_of,
            )
        if intent is None:
            return {"intent": None}
        return _known(intent.id, intent.actor, intent.role)

    async def _add(self, request: Request, actor: Actor, arguments: dict[str, Any]) -> int:
        async def accept(s: Session) -> int:
            number = await intents.accept(
                s,
                actor=actor.name,
                role=actor.role,
                verb=request.verb,
                target=request.target,
                arguments=arguments,
                reason=request.reason,
                expected_version=request.expected_version,
                on_behalf_of=request.on_behalf_of,
                idempotency_key=request.idempotency_key,
                at_us=self._now_us(),
            )
            waiting = await intents.unclaimed(s, actor.name)
            if waiting > UNCLAIMED and request.on_behalf_of is None:
                raise Rejected(
                    "busy",
                    f"{waiting - 1} requests of {actor.name} are waiting to be carried out; see "
                    "`paddock intents tail`, and ask again when they are done.",
                )
            return number

        try:
            return await self._store.write(accept, durable=True)
        except errors.AlreadyExists as error:
            raise Rejected("bad_arguments", str(error)) from error

    async def _sealed(self, arguments: dict[str, Any], parsed: object) -> dict[str, Any]:
        """The arguments as they are stored: the MAC of a key in place of its hash."""
        if not isinstance(parsed, verbs.keys.Add):
            return arguments
        if parsed.sha256 is None:
            raise Rejected("bad_arguments", "A key is added by its sha256: the node makes the mac.")
        async with self._store.read() as s:
            mac = await keys.seal(s, parsed.sha256)
        return {key: each for key, each in arguments.items() if key != "sha256"} | {"mac": mac}

    async def _authority(self, request: Request, actor: Actor, peer: Peer) -> Actor:
        """Whose role counts: a run asks with the role of the person who started it."""
        number = request.on_behalf_of
        if number is None:
            return actor
        if peer.pid != self._runner():
            raise Rejected("not_allowed", "Only the runner may ask on behalf of others.")
        async with self._store.read() as s:
            started = await intents.find(s, number)
        if started.verb not in _RUNS or started.state is not intents.State.CLAIMED:
            raise Rejected("not_allowed", f"Intent {number} is not a run in progress.")
        return Actor(started.actor, Role(started.role))


def _known(number: int, actor: str, role: str) -> dict[str, Any]:
    return {"intent": number, "actor": actor, "role": role}
