"""Answers the requests that arrive on the control socket, or rejects them.

Intents are left to `engine.node.intents`; the rest concerns the node itself: its state, its end,
backups, previews of prompts. Knows no socket. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from engine.execution import client as execution
from engine.execution import failures
from engine.node import control_protocol, roles
from engine.node.control_protocol import TEXT_LIMIT, Actor, Number, Rejected, Request
from engine.node.intents import Intents
from engine.process.peers import Peer
from storage import errors, intents, ledger
from storage.home.config import Config
from storage.home.paths import Home
from storage.keys import Role
from storage.store import Session, Store

_PREVIEW_US: Final = 10_000_000

_log = structlog.get_logger("node.control_socket")


class Preview(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a preview: the id of a prompt version, and what fills it in."""

    prompt_id: Number
    variables: dict[str, Any] = {}
    model: str | None = None
    user: str | None = None


class ControlRequests:
    """Answers requests. `state` says what the node runs; `stop` stops the node."""

    def __init__(
        self,
        home: Home,
        store: Store,
        config: Config,
        *,
        now_us: Callable[[], int],
        state: Callable[[], dict[str, Any]],
        stop: Callable[[str], None],
        runner: Callable[[], int | None],
    ) -> None:
        """`runner` is the process id of the runner, while there is one."""
        self._home = home
        self._store = store
        self._people = {
            Role.ADMIN: config.people.admin,
            Role.OPERATOR: config.people.operator,
            Role.VIEWER: config.people.viewer,
        }
        self._now_us = now_us
        self._state = state
        self._stop = stop
        self._intents = Intents(store, now_us=now_us, runner=runner)

    async def answer(self, request: Request, peer: Peer) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            Rejected: it is refused. StorageError: it could not be stored.
        """
        if not control_protocol.shallow(request.arguments):
            raise Rejected("bad_request", control_protocol.TOO_DEEP)
        actor = await self._actor(peer)
        match request.do:
            case "who":
                return {"person": actor.name, "role": actor.role.value}
            case "state":
                return self._state()
            case "stop":
                await self._stop_node(request, actor)
            case "backup":
                await self._record_backup(request, actor)
            case "intent":
                return await self._intents.accept(request, actor, peer)
            case "preview":
                return await self._preview(request)
            case "outcome":
                return await self._intents.outcome(request, actor, peer)
            case _:
                raise Rejected(
                    "bad_request",
                    "The control socket knows backup, intent, outcome, preview, state, stop and "
                    f"who, not {request.do!r}.",
                )
        return {}

    async def _actor(self, peer: Peer) -> Actor:
        person = await asyncio.to_thread(roles.look_up, peer)
        role = roles.role(person, self._home.root.stat().st_uid, self._people)
        if role is None:
            raise Rejected(
                "not_allowed",
                f"{person.name} has no role on this box, so it is read-only; an admin can add one "
                f"to [people] in {self._home.config} and restart the node.",
            )
        return Actor(person.name, role)

    async def _preview(self, request: Request) -> dict[str, Any]:
        """A prompt version as the gateway renders it: its messages, and their number of tokens."""
        try:
            asked = msgspec.convert(request.arguments, Preview)
            found = await execution.Client(self._home).preview(
                asked.prompt_id,
                asked.variables,
                model=asked.model,
                user=asked.user,
                deadline_us=_PREVIEW_US,
            )
        except msgspec.ValidationError as error:
            raise Rejected("bad_arguments", f"preview: {error}.") from error
        except failures.Failure as failure:
            message = failure.message
            raise Rejected(failure.code, f"{message[:1].upper()}{message[1:]}.") from failure
        return dict(msgspec.to_builtins(found))

    async def _stop_node(self, request: Request, actor: Actor) -> None:
        actor.need(Role.OPERATOR, "stop the node")
        reason = request.reason[:TEXT_LIMIT]
        try:
            await self._record_stop(actor, reason)
        except errors.StorageError as error:  # a box with a full disk can still be stopped
            _log.warning("the stop could not be recorded", actor=actor.name, error=str(error))
        why = f": {reason}" if reason else ""
        self._stop(f"{actor.name} asked for it on the control socket{why}")

    async def _record_stop(self, actor: Actor, reason: str) -> None:
        """Record who stopped the node, and why, as an intent and in the ledger."""
        now, host = self._now_us(), os.uname().nodename

        async def work(s: Session) -> None:
            number = await intents.accept(
                s, actor=actor.name, role=actor.role, verb="node.stop", target=host, arguments={},
                reason=reason, at_us=now,
            )  # fmt: skip
            await intents.claim_one(s, number, by="node", at_us=now)
            said = f"{actor.name} stopped the node."
            await intents.end(s, number, intents.State.APPLIED, said, now, by="node")
            await ledger.write(
                s, actor=actor.name, verb="node.stop", noun="node", key=host, before="running",
                after="stopped", at_us=now, intent_id=number,
            )  # fmt: skip

        await self._store.write(work, durable=True)

    async def _record_backup(self, request: Request, actor: Actor) -> None:
        """Record in the ledger who copied the store to which file, and why."""
        actor.need(Role.OPERATOR, "record a backup")
        await self._store.write(
            lambda s: ledger.write(
                s, actor=actor.name, verb="store.backup", noun="store", key=self._store.id[:8],
                before=None, after=request.target[:TEXT_LIMIT], at_us=self._now_us(),
                reason=request.reason[:TEXT_LIMIT],
            )
        )  # fmt: skip
