"""Reads snapshots: the whole store, or what the ledger says has changed since the last one.

A change costs what changed, however much is stored, and the whole is read a few rows at a time
(`store.stream`), so that neither keeps the event loop from requests. Imported by
`engine.execution.catalog`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from engine.execution.snapshot import Shadow, Snapshot
from engine.prompting.prompt_template import Prompt
from engine.prompting.renderer.pool import Renderer
from storage import (
    deployments,
    held_releases,
    keys,
    knobs,
    ledger,
    models,
    prompts,
    quarantine,
    releases,
    retired_releases,
    rollouts,
    services,
    upstreams,
)
from storage.models import ModelVersion
from storage.quarantine import Quarantined
from storage.releases import Release
from storage.store import Session
from storage.upstreams import Upstream

CHANGES: Final = 500
"""Ledger entries since the last snapshot, beyond which everything is read."""


async def whole(s: Session, renderer: Renderer, before: Snapshot) -> Snapshot:
    """Everything; the prompts of `before` are kept, with what was compiled of them."""
    every = {release.number: release for release in await releases.every(s)}
    found = Snapshot(
        services={service.name: service for service in await services.every(s)},
        releases=every,
        models=await _models(s),
        prompts=await _prompts(s, renderer, before.prompts, every.values()),
        deployments={each.name: each for each in await deployments.every(s)},
        keys=await keys.active(s),
        quarantined=await _quarantined(s),
        held=await held_releases.every(s),
        retired=frozenset(await retired_releases.every(s)),
        upstreams=await _upstreams(s),
        shadows=await _shadows(s),
    )
    return replace(found, knobs=await _knobs(s, found, {}, set()))


async def after(
    s: Session, renderer: Renderer, before: Snapshot, changes: Iterable[ledger.Change]
) -> Snapshot:
    """The snapshot `before` with these changes, which are all that followed it."""
    touched: dict[str, set[str]] = {}
    for change in changes:
        touched.setdefault(change.noun, set()).add(change.key)
    now = before
    if names := touched.get("service"):
        now = replace(now, services=await _services(s, now.services, names))
    if "release" in touched:
        now = await _releases(s, renderer, now)
    if names := touched.get("deployment"):
        fresh = {each.name: each for each in await deployments.every(s, names)}
        now = replace(now, deployments={**now.deployments, **fresh})
    for noun, (field, read) in _READ.items():
        if noun in touched:
            now = replace(now, **{field: await read(s)})
    if touched and (shadows := await _shadows(s)) != now.shadows:
        now = replace(now, shadows=shadows)
    set_anew = {key.partition(" ")[0] for key in touched.get("knob", ())}
    if now is not before or set_anew:
        now = replace(now, knobs=await _knobs(s, now, before.knobs, set_anew))
    return now


async def _services(
    s: Session, before: Mapping[str, services.Service], names: set[str]
) -> dict[str, services.Service]:
    """Sorted by name, as a whole read has them."""
    now = {name: service for name, service in before.items() if name not in names}
    now |= {service.name: service for service in await services.every(s, names)}
    return dict(sorted(now.items()))


async def _releases(s: Session, renderer: Renderer, before: Snapshot) -> Snapshot:
    """With what only the new releases name, deployments and prompts, and which are retired."""
    fresh = await releases.every(s, after=max(before.releases, default=0))
    every = {**before.releases, **{release.number: release for release in fresh}}
    names = {release.deployment for release in fresh}
    placed = {each.name: each for each in await deployments.every(s, names)}
    return replace(
        before,
        releases=every,
        retired=frozenset(await retired_releases.every(s)),
        deployments={**before.deployments, **placed},
        prompts={**before.prompts, **await _prompts(s, renderer, before.prompts, fresh)},
    )


async def _shadows(s: Session) -> dict[str, Shadow]:
    return {
        each.service: Shadow(
            rollout=each.id,
            attempt=each.attempt,
            share_bp=each.mirror.share_bp,
            stable=each.stable,
            candidate=each.candidate,
        )
        for each in await rollouts.mirroring(s)
        if each.mirror is not None and each.stable is not None
    }


async def _knobs(
    s: Session, now: Snapshot, before: Mapping[str, Mapping[str, int]], set_anew: set[str]
) -> dict[str, Mapping[str, int]]:
    """The settings of the deployments that splits name; read where they may have changed."""
    resident = {release.deployment for release in now.resident.values()}
    known = before.keys() - set_anew
    return {
        name: before[name] if name in known else await knobs.of(s, name)
        for name in sorted(resident)
    }


async def _prompts(
    s: Session, renderer: Renderer, known: Mapping[int, Prompt], named: Iterable[Release]
) -> dict[int, Prompt]:
    """The prompt versions that releases name; those read before are kept, with their texts."""
    wanted = {id for release in named if (id := release.prompt_version_id) is not None}
    found = {id: known[id] for id in wanted & known.keys()}
    for version in await prompts.every(s, wanted - known.keys()):
        found[version.id] = Prompt(version, renderer)
    return found


async def _models(s: Session) -> dict[int, ModelVersion]:
    return {model.id: model for model in await models.every(s)}


async def _quarantined(s: Session) -> tuple[Quarantined, ...]:
    return tuple(await quarantine.every(s))


async def _upstreams(s: Session) -> dict[str, Upstream]:
    return {upstream.name: upstream for upstream in await upstreams.every(s)}


_READ: Final[Mapping[str, tuple[str, Callable[[Session], Awaitable[Any]]]]] = {
    "job": ("held", held_releases.every),
    "key": ("keys", keys.active),
    "model": ("models", _models),
    "quarantine": ("quarantined", _quarantined),
    "replay": ("held", held_releases.every),
    "upstream": ("upstreams", _upstreams),
}
"""Nouns that are read as a whole after a change: the field of a snapshot, and the read."""
