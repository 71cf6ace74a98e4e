"""The gateway's view of the store: services, releases, models, prompts, keys, knobs.

One frozen snapshot, replaced when the ledger has grown: processes that write send a nudge, and the
gateway also checks once a second. While the store cannot be read the last snapshot is used.
Imported by `engine.execution.plan`, the local backend and the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from engine.execution import failures
from engine.prompting import prompt_template
from engine.prompting.renderer.pool import Renderer
from storage import (
    deployments,
    errors,
    keys,
    knobs,
    ledger,
    models,
    prompts,
    quarantine,
    releases,
    rollouts,
    services,
    upstreams,
)
from storage.deployments import Deployment
from storage.home.pepper import Pepper
from storage.keys import Key
from storage.models import ModelVersion
from storage.quarantine import Quarantined
from storage.releases import Release
from storage.services import Service
from storage.store import Session, Store
from storage.upstreams import Upstream

_log = structlog.get_logger("gateway.catalog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A share of a service's requests that is copied, by a rollout, from stable to a candidate."""

    rollout: int
    attempt: int
    share_bp: int
    stable: int
    candidate: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store at one moment. `keys` by their hash, without revoked ones; `shadows` by service."""

    services: Mapping[str, Service] = field(default_factory=dict)
    releases: Mapping[int, Release] = field(default_factory=dict)
    models: Mapping[int, ModelVersion] = field(default_factory=dict)
    prompts: Mapping[int, prompt_template.Prompt] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    knobs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    shadows: Mapping[str, Shadow] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...] = ()

    def arms(self, service: str) -> list[Release]:
        """The releases of a service that receive traffic."""
        found = self.services.get(service)
        return [
            self.releases[arm.release]
            for arm in (found.split.arms if found else ())
            if arm.weight_bp > 0 and arm.release in self.releases
        ]

    def live(self) -> set[tuple[str, int]]:
        """The arms that get traffic, as (service, release)."""
        return {
            (service.name, arm.release)
            for service in self.services.values()
            for arm in service.split.arms
            if arm.weight_bp > 0
        }

    def resident(self) -> dict[int, Release]:
        """The releases of all arms, whatever their weight: their deployments stay loaded."""
        return {
            arm.release: self.releases[arm.release]
            for service in self.services.values()
            for arm in service.split.arms
            if arm.release in self.releases
        }


class Catalog:
    """The current `snapshot`, kept fresh by `look`."""

    def __init__(
        self, store: Store, renderer: Renderer, *, on_change: Callable[[Snapshot], None]
    ) -> None:
        self._store = store
        self._on_change = on_change
        self._looking = asyncio.Lock()
        self._renderer = renderer
        self._entry = (0, -1)  # which file of the store, and its newest entry
        self._stale = True
        self._pepper: Pepper | None = None
        self.locked: str | None = None
        """Why no key can be checked; None while they can."""
        self.snapshot = Snapshot()

    async def refresh(self) -> None:
        """Read everything."""
        try:
            snapshot, entry = await self._read()
        except errors.StorageError as error:
            _log.warning("the store cannot be read; using the last snapshot", reason=str(error))
            self._stale = True
            return
        self._stale = False
        self._entry = self._store.replaced, entry
        self.snapshot = snapshot
        self._on_change(snapshot)

    async def _unlock(self, s: Session) -> None:
        """Read the pepper; while its file is away, the one that was read before serves."""
        try:
            self._pepper, self.locked = await keys.checked_with(s), None
        except errors.PepperLost as error:
            if self._pepper is None or not await keys.sealed_with(s, self._pepper):
                self._pepper = None
            if self.locked is None:
                _log.error("keys cannot be checked", reason=str(error))
            self.locked = str(error)

    async def look(self) -> None:
        """Read everything if the ledger has grown since."""
        async with self._looking:  # a second caller uses what the first one read
            try:
                if not (await self._store.changed() or self._stale or self.locked):
                    return
                self._stale = True
                async with self._store.read() as s:
                    newest = await ledger.tail(s, 1)
            except errors.StorageError:
                return
            entry = self._store.replaced, newest[0].id if newest else 0
            if entry != self._entry or self.locked:
                await self.refresh()
            else:
                self._stale = False

    @property
    def pepper(self) -> Pepper | None:
        """The secret that keys and units are hashed with; None while it cannot be read."""
        return self._pepper

    @property
    def checks_keys(self) -> bool:
        """Whether keys can be checked."""
        return self._pepper is not None

    async def key(self, secret: str) -> Key | None:
        """The key with this secret, None when it is unknown or revoked.

        Raises:
            failures.Unavailable: keys cannot be checked.
        """
        sha256 = keys.digest(secret)
        found = self._found(sha256)
        if found is None and self._pepper is not None:
            await self.look()  # it may be new
            found = self._found(sha256)
        if self._pepper is None:
            raise failures.Unavailable(
                "API keys cannot be checked now; `paddock status` tells the operators of this "
                "server why",
                code="keys_unavailable",
            )
        return found

    def known(self, secret: str) -> Key | None:
        """The key with this secret as of the last look; None, too, where none can be checked."""
        return self._found(keys.digest(secret))

    def _found(self, sha256: str) -> Key | None:
        return None if self._pepper is None else self.snapshot.keys.get(self._pepper.seal(sha256))

    async def service(self, name: str) -> Service:
        """The service of this name.

        Raises:
            failures.Unknown: there is none.
        """
        if name not in self.snapshot.services:
            await self.look()  # it may be new
        try:
            return self.snapshot.services[name]
        except KeyError:
            known = ", ".join(sorted(self.snapshot.services)) or "none yet"
            raise failures.Unknown(
                f"the model {name[:64]!r} does not exist here; the services are: {known}",
                code="model_not_found",
                param="model",
            ) from None

    async def release(self, name: str) -> Release:
        """The release of this name, such as r14.

        Raises:
            failures.Unknown: there is none.
        """
        digits = name[1:]
        number = int(digits) if name[:1] == "r" and digits.isdecimal() and digits.isascii() else -1
        if number not in self.snapshot.releases:
            await self.look()  # it may be new
        try:
            return self.snapshot.releases[number]
        except KeyError:
            raise failures.Unknown(
                f"there is no release {name[:64]!r}",
                code="release_not_found",
                param="x-paddock-release",
            ) from None

    async def _read(self) -> tuple[Snapshot, int]:
        async with self._store.read() as s:
            newest = await ledger.tail(s, 1)
            await self._unlock(s)
            every = await releases.every(s)
            snapshot = Snapshot(
                services={service.name: service for service in await services.every(s)},
                releases={release.number: release for release in every},
                models={model.id: model for model in await models.every(s)},
                prompts=await self._prompts(s, every),
                deployments={each.name: each for each in await deployments.every(s)},
                keys=await keys.active(s),
                quarantined=tuple(await quarantine.every(s)),
                upstreams={upstream.name: upstream for upstream in await upstreams.every(s)},
                shadows=await _shadows(s),
            )
            resident = {release.deployment for release in snapshot.resident().values()}
            settings = {name: await knobs.of(s, name) for name in sorted(resident)}
            snapshot = replace(snapshot, knobs=settings)
        return snapshot, newest[0].id if newest else 0

    async def _prompts(self, s: Session, every: list[Release]) -> dict[int, prompt_template.Prompt]:
        """The prompt versions that releases name; those read before are kept, with their texts."""
        known = self.snapshot.prompts
        wanted = {id for release in every if (id := release.prompt_version_id) is not None}
        found = {id: known[id] for id in wanted & known.keys()}
        for version in await prompts.every(s, wanted - known.keys()):
            found[version.id] = prompt_template.Prompt(version, self._renderer)
        return found


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
