"""What people ask of the node: checked (verb, role, arguments) and stored, or refused.

An intent is stored durably before it is acknowledged. Knows no socket; never decides an intent and
never acts on one. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
import structlog

from engine.execution import client as execution
from engine.execution import failures
from engine.node import roles
from engine.process.peers import Peer
from storage import errors, intents, keys, ledger
from storage.control_socket import verbs
from storage.control_socket.verbs import Process
from storage.home.config import Config
from storage.home.paths import Home
from storage.keys import Role
from storage.store import Store

DEPTH: Final = 32
"""How deep the arguments of a request may be nested."""
TOO_DEEP: Final = f"The line is not a request: it is nested more than {DEPTH} deep."

UNCLAIMED: Final = 500
"""Requests of one person that may wait until they are carried out, a few seconds of work."""

_TEXT_LIMIT: Final = 2000
_PREVIEW_US: Final = 10_000_000
_RUNS: Final = verbs.carried_out_by(Process.RUNNER)

_log = structlog.get_logger("node.control_socket")

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # as the store keeps it
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Request(msgspec.Struct, frozen=True):
    """One line from a client."""

    do: str
    verb: str = ""
    target: str = ""
    arguments: dict[str, Any] = {}
    reason: str = ""
    expected_version: _Number | None = None
    on_behalf_of: _Number | None = None
    idempotency_key: _Key | None = None
    confirm: str = ""


class Preview(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a preview: the id of a prompt version, and what fills it in."""

    prompt_id: _Number
    variables: dict[str, Any] = {}
    model: str | None = None
    user: str | None = None


class Rejected(Exception):
    """A request that is answered with an error; `code` is for machines."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ControlRequests:
    """Answers them. `state` says what the node runs; `stop` stops the node."""

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
        self._runner = runner

    async def answer(self, request: Request, peer: Peer) -> dict[str, Any]:
        """What the request asks for.

        Raises:
            Rejected: it is refused. StorageError: it could not be stored.
        """
        if not _shallow(request.arguments):
            raise Rejected("bad_request", TOO_DEEP)
        name, role = await self._who(peer)
        match request.do:
            case "who":
                return {"person": name, "role": role.value}
            case "state":
                return self._state()
            case "stop":
                _need(name, role, Role.OPERATOR, "stop the node")
                await self._record_stop(name, role, request.reason[:_TEXT_LIMIT])
                why = f": {request.reason[:_TEXT_LIMIT]}" if request.reason else ""
                self._stop(f"{name} asked for it on the control socket{why}")
            case "backup":
                _need(name, role, Role.OPERATOR, "record a backup")
                await self._record_backup(name, request)
            case "intent":
                return await self._intent(request, peer, name, role)
            case "preview":
                return await self._preview(request)
            case "outcome":
                return await self._outcome(request, peer, name)
            case _:
                raise Rejected(
                    "bad_request",
                    "The control socket knows backup, intent, outcome, preview, state, stop and "
                    f"who, not {request.do!r}.",
                )
        return {}

    async def _preview(self, request: Request) -> dict[str, Any]:
        """The messages of a prompt version, and their tokens: the gateway renders and counts."""
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

    async def _record_stop(self, name: str, role: Role, reason: str) -> None:
        """Who stopped the node, and why, among the intents and in the ledger.

        A box that cannot store anything can still be stopped.
        """
        now, host = self._now_us(), os.uname().nodename

        async def work(session: Any) -> None:
            number = await intents.accept(
                session, actor=name, role=role, verb="node.stop", target=host, arguments={},
                reason=reason, at_us=now,
            )  # fmt: skip
            await intents.claim_one(session, number, by="node", at_us=now)
            await intents.end(
                session, number, intents.State.APPLIED, f"{name} stopped the node.", now, by="node"
            )
            await ledger.write(
                session, actor=name, verb="node.stop", noun="node", key=host, before="running",
                after="stopped", at_us=now, intent_id=number,
            )  # fmt: skip

        try:
            await self._store.write(work, durable=True)
        except errors.StorageError as error:
            _log.warning("the stop could not be recorded", actor=name, error=str(error))

    async def _record_backup(self, name: str, request: Request) -> None:
        """Who copied the store to which file, and why, in the ledger."""
        await self._store.write(
            lambda session: ledger.write(
                session, actor=name, verb="store.backup", noun="store", key=self._store.id[:8],
                before=None, after=request.target[:_TEXT_LIMIT], at_us=self._now_us(),
                reason=request.reason[:_TEXT_LIMIT],
            )
        )  # fmt: skip

    async def _who(self, peer: Peer) -> tuple[str, Role]:
        person = await asyncio.to_thread(roles.look_up, peer)
        role = roles.role(person, self._home.root.stat().st_uid, self._people)
        if role is None:
            raise Rejected(
                "not_allowed",
                f"{person.name} has no role on this box, so it is read-only; an admin can add one "
                f"to [people] in {self._home.config} and restart the node.",
            )
        return person.name, role

    async def _intent(self, request: Request, peer: Peer, name: str, role: Role) -> dict[str, Any]:
        verb = verbs.TABLE.get(request.verb)
        if verb is None:
            known = ", ".join(sorted(verbs.TABLE))
            raise Rejected("unknown_verb", f"There is no verb {request.verb!r}; known: {known}.")
        if request.on_behalf_of is not None:
            name, role = await self._on_behalf_of(request.on_behalf_of, peer)
        _need(name, role, verb.role, verb.sentence[:1].lower() + verb.sentence[1:])
        if max(len(request.target), len(request.reason)) > _TEXT_LIMIT:
            raise Rejected(
                "bad_arguments", f"Target and reason are limited to {_TEXT_LIMIT} characters."
            )
        try:
            parsed = verbs.parse(request.verb, request.arguments)
            verbs.check(verb, target=request.target, confirm=request.confirm, reason=request.reason)
        except verbs.BadArguments as error:
            raise Rejected("bad_arguments", str(error)) from error
        arguments = await self._sealed(request.arguments, parsed)

        async def accept(session: Any) -> int:
            number = await intents.accept(
                session,
                actor=name,
                role=role,
                verb=request.verb,
                target=request.target,
                arguments=arguments,
                reason=request.reason,
                expected_version=request.expected_version,
                on_behalf_of=request.on_behalf_of,
                idempotency_key=request.idempotency_key,
                at_us=self._now_us(),
            )
            waiting = await intents.unclaimed(session, name)
            if waiting > UNCLAIMED and request.on_behalf_of is None:
                raise Rejected(
                    "busy",
                    f"{waiting - 1} requests of {name} are waiting to be carried out; see "
                    "`paddock intents tail`, and ask again when they are done.",
                )
            return number

        try:
            number = await self._store.write(accept, durable=True)
        except errors.AlreadyExists as error:
            raise Rejected("bad_arguments", str(error)) from error
        _log.info("intent", intent=number, actor=name, verb=request.verb, target=request.target)
        return {"intent": number, "actor": name, "role": role.value}

    async def _sealed(self, arguments: dict[str, Any], parsed: object) -> dict[str, Any]:
        """The arguments as they are stored: without the hash of a key."""
        if not isinstance(parsed, verbs.keys.Add):
            return arguments
        if parsed.sha256 is None:
            raise Rejected("bad_arguments", "A key is added by its sha256: the node makes the mac.")
        async with self._store.read() as session:
            mac = await keys.seal(session, parsed.sha256)
        return {key: each for key, each in arguments.items() if key != "sha256"} | {"mac": mac}

    async def _outcome(self, request: Request, peer: Peer, name: str) -> dict[str, Any]:
        """What became of the request that this client sent under an idempotency key."""
        if request.on_behalf_of is not None:
            name, _ = await self._on_behalf_of(request.on_behalf_of, peer)
        async with self._store.read() as session:
            intent = await intents.by_key(
                session,
                request.idempotency_key or "",
                actor=name,
                on_behalf_of=request.on_behalf_of,
            )
        if intent is None:
            return {"intent": None}
        return {"intent": intent.id, "actor": intent.actor, "role": intent.role}

    async def _on_behalf_of(self, number: int, peer: Peer) -> tuple[str, Role]:
        """Who started a run, with their role: the run may do what that person may do."""
        if peer.pid != self._runner():
            raise Rejected("not_allowed", "Only the runner may ask on behalf of others.")
        async with self._store.read() as session:
            started = await intents.find(session, number)
        if started.verb not in _RUNS or started.state is not intents.State.CLAIMED:
            raise Rejected("not_allowed", f"Intent {number} is not a run in progress.")
        return started.actor, Role(started.role)


def _need(name: str, role: Role, needed: Role, what: str) -> None:
    if not role.may(needed):
        raise Rejected(
            "not_allowed", f"{name} is {role.value}; to {what} one must be {needed.value}."
        )


def _shallow(value: object, left: int = DEPTH) -> bool:
    """Whether a value is nested at most so deep: what is stored is encoded and decoded again."""
    if isinstance(value, dict):
        return left > 0 and all(_shallow(each, left - 1) for each in value.values())
    if isinstance(value, list):
        return left > 0 and all(_shallow(each, left - 1) for each in value)
    return True
