"""Deployments: what must be loaded for releases to answer, and in how many instances.

Releases with the same weights and engine settings share one deployment, whatever their prompts,
sampling or adapters. A deployment is created with the first release that needs it and keeps its
name. Whether its instances run is `storage.processes`' knowledge. Read by every package, written by
`engine.control` and the node.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import deployment_rows, errors, ledger, moves, release_content
from storage.deployment_rows import (
    Backend,
    Deployment,
    DeploymentRow,
    Status,
    called,
    every,
    find,
    instance,
    resolve,
)
from storage.models import ModelVersion
from storage.release_content import Engine, Server, Upstream

__all__ = [
    "MOST", "MOVES", "Backend", "Deployment", "DeploymentRow", "Status", "backend", "called",
    "every", "find", "identity", "instance", "mark_failing", "of_release", "resolve", "restart",
    "scale", "unscalable",
]  # fmt: skip


MOST: Final = 64
"""Replicas that one deployment may have."""

_SUFFIXES: Final = (4, 8, 16, 32)  # hex digits of the identity: as few as tell names apart
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9_.-]+")
_NAME_LENGTH: Final = 60

_LOADED: Final = (
    "context_tokens",
    "max_sequences",
    "gpu_layers",
    "threads",
    "prefill_budget",
    "kv_cache_type",
    "devices",
    "split",
    "task",
    "pooling",
)
"""The engine settings that decide what is loaded: all so far."""


MOVES: Final = moves.Table(
    noun="deployment",
    column="status",
    begins=frozenset({Status.ACTIVE}),
    legal={
        Status.ACTIVE: frozenset({Status.FAILING}),
        Status.FAILING: frozenset({Status.ACTIVE}),
    },
)


def backend(settings: Engine | Upstream | Server) -> Backend:
    """What computes the tokens of a release with these settings."""
    match settings:
        case Engine():
            return Backend.LOCAL
        case Upstream():
            return Backend.UPSTREAM
        case Server():
            return Backend.SERVER


def identity(weights: str | None, settings: Engine | Upstream | Server) -> tuple[object, ...]:
    """What tells deployments apart: equal tuples share their instances.

    Settings at their baseline are left out, so that a new setting splits no deployment.
    """
    changed = release_content.reduced(settings)
    match settings:
        case Engine():
            loaded = [(name, changed[name]) for name in _LOADED if name in changed]
            return (Backend.LOCAL.value, weights, *loaded)
        case Upstream(name=name):
            return (Backend.UPSTREAM.value, name)
        case Server():
            return (Backend.SERVER.value, weights, *sorted(changed.items()))


async def of_release(
    s: AsyncSession,
    *,
    weights: ModelVersion | None,
    settings: Engine | Upstream | Server,
    at_us: int,
) -> Deployment:
    """The deployment that a release with these weights and settings needs; created if missing."""
    sha256 = None if weights is None else weights.sha256
    key = _json(identity(sha256, settings))
    query = select(DeploymentRow).where(col(DeploymentRow.identity) == key)
    query = query.order_by(col(DeploymentRow.created_at_us), col(DeploymentRow.name))
    row = (await s.scalars(query.limit(1))).first()
    if row is None:
        row = DeploymentRow(
            name=await _free_name(s, weights, settings, key),
            backend=backend(settings).value,
            identity=key,
            weights=sha256,
            engine=release_content.stored(settings) if isinstance(settings, Engine) else None,
            upstream=settings.name if isinstance(settings, Upstream) else None,
            server=release_content.stored(settings) if isinstance(settings, Server) else None,
            replicas=1,
            status=Status.ACTIVE.value,
            status_reason=None,
            created_at_us=at_us,
        )
        s.add(row)
        await s.flush()
    return deployment_rows.record(row)


def unscalable(deployment: Deployment, replicas: int) -> str | None:
    """Why a deployment cannot have this many instances on any machine; None if it can."""
    if deployment.backend is Backend.UPSTREAM:
        return f"{deployment.name} is an upstream, which runs its own instances; scale it there."
    if replicas < 1:
        return (
            f"replicas is 1 to {MOST}, not {replicas}; to stop {deployment.name}, take its "
            "releases out of every split."
        )
    return None if replicas <= MOST else f"replicas is 1 to {MOST}, not {replicas}."


async def scale(
    s: AsyncSession,
    name: str,
    replicas: int,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Deployment:
    """Set how many instances are wanted; the node starts and drains them.

    Raises:
        NotFound: there is no such deployment.
        Invalid: the number is out of range, or an upstream runs the instances itself.
    """
    before = await find(s, name)
    if (reason := unscalable(before, replicas)) is not None:
        raise errors.Invalid(reason)
    row = await s.get_one(DeploymentRow, name)
    row.replicas = replicas
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="deployments.scale", noun="deployment", key=name,
        before=before.replicas, after=replicas, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return deployment_rows.record(row)


async def mark_failing(s: AsyncSession, name: str, evidence: str, at_us: int) -> None:
    """Stop running a deployment whose instances die while serving; no change if marked already."""
    if (await find(s, name)).status is Status.ACTIVE:
        await moves.move(
            s, MOVES, DeploymentRow, name, Status.ACTIVE, Status.FAILING,
            actor="node", at_us=at_us, changes={"status_reason": evidence}, reason=evidence,
        )  # fmt: skip


async def restart(
    s: AsyncSession, name: str, *, actor: str, at_us: int, intent_id: int | None = None
) -> Deployment:
    """Let the node run a failing deployment again.

    Raises:
        NotFound: there is no such deployment.
        Moved: it is not failing.
    """
    await moves.move(
        s, MOVES, DeploymentRow, name, Status.FAILING, Status.ACTIVE,
        actor=actor, verb="deployments.restart", at_us=at_us, intent_id=intent_id,
        changes={"status_reason": None},
    )  # fmt: skip
    return await find(s, name)


async def _free_name(
    s: AsyncSession,
    weights: ModelVersion | None,
    settings: Engine | Upstream | Server,
    identity: str,
) -> str:
    """A name for a new deployment, as short as tells it from the others."""
    match settings:
        case Engine() if weights is not None:
            plain = f"{weights.model}-{weights.version}"
            bare = not release_content.reduced(settings)
        case Upstream():
            plain, bare = settings.name, True
        case Server() if weights is not None:
            plain, bare = f"{weights.model}-{weights.version}", False
        case Server():
            plain, bare = _NOT_IN_NAMES.sub("-", settings.model.lower())[:_NAME_LENGTH], True
        case Engine():
            raise errors.Invalid("A local deployment needs weights.")
    digest = hashlib.sha256(identity.encode()).hexdigest()
    taken = set(await s.scalars(select(col(DeploymentRow.name))))
    names = [plain] if bare else []
    for name in [*names, *(f"{plain}-{digest[:digits]}" for digits in _SUFFIXES)]:
        if name not in taken:
            return name
    raise errors.Invalid(f"No name is left for a deployment of {plain}.")


def _json(identity: tuple[object, ...]) -> str:
    return msgspec.json.encode(identity, order="deterministic").decode()
