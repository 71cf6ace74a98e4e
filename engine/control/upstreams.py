"""Upstreams: register and remove OpenAI-compatible servers. Imported by `engine.control.handlers`.

The API key never arrives here, only the reference to the file that holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import errors, jobs, receivers, releases, rollouts, service_rows, services, upstreams
from storage.control_socket import verbs
from storage.home import secrets
from storage.home.paths import Home
from storage.intents import Intent
from storage.store import Session, Store

_SECOND_US: Final = 1_000_000

_log = structlog.get_logger("control.upstreams")


@handles("upstreams.add")
async def add(s: Session, intent: Intent, arguments: verbs.upstreams.Add, at_us: int) -> Decision:
    """Register a server. The gateway starts to check its health at once."""
    added = await upstreams.add(
        s,
        name=intent.target,
        url=arguments.url,
        secret=arguments.secret,
        max_connections=arguments.max_connections,
        connect_timeout_us=round(arguments.connect_s * _SECOND_US),
        first_event_timeout_us=round(arguments.first_event_s * _SECOND_US),
        read_timeout_us=round(arguments.read_s * _SECOND_US),
        health_path=arguments.health_path,
        metrics_path=arguments.metrics_path,
        extensions=arguments.extensions,
        scores=arguments.scores,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    key = "with a key" if added.secret is not None else "without a key"
    return Decision(Reason.APPLIED, f"Added upstream {added.name} at {added.url}, {key}.", added)


@handles("upstreams.rekey")
async def rekey(
    s: Session, intent: Intent, arguments: verbs.upstreams.Rekey, at_us: int
) -> Decision:
    """Use another key, also while splits need the upstream."""
    await upstreams.rekey(
        s,
        intent.target,
        arguments.secret,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, f"Replaced the key of upstream {intent.target}.", intent.target)


@handles("upstreams.remove")
async def remove(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Forget a server that no split needs."""
    needing = await _needing(s, intent.target)
    if needing:
        return Decision(
            Reason.INVALID,
            f"Upstream {intent.target} is needed by {', '.join(needing)}; take the release out of "
            "the split first.",
        )
    removed = await upstreams.remove(
        s, intent.target, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    return Decision(Reason.APPLIED, f"Removed upstream {removed.name} ({removed.url}).", removed)


async def _needing(s: Session, name: str) -> list[str]:
    """The arms that the upstream answers for, as people read them: r3 in service support."""
    return [
        f"{release.name} in service {service.name}"
        for service in await services.every(s)
        for arm in service.split.arms
        if (release := await releases.get(s, arm.release)).upstream is not None
        and release.upstream.name == name
    ]


async def sweep(home: Home, store: Store, now_us: Callable[[], int]) -> None:
    """Remove the deposited keys that no upstream, rollout, receiver or job refers to."""
    try:
        async with store.read() as s:
            referred = {each.secret for each in await upstreams.every(s) if each.secret}
            referred |= await jobs.secrets(s) | await rollouts.secrets(s)
            referred |= await receivers.secrets(s) | await service_rows.secrets(s)
    except errors.StorageError as error:
        _log.warning("unused keys were not removed", error=str(error))
        return
    removed = await asyncio.to_thread(secrets.sweep, home, referred, now_s=now_us() / _SECOND_US)
    if removed:
        _log.info("removed unused keys", count=removed)
