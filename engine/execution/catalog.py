"""What the gateway knows of the store: services, releases, models, prompts, keys, knobs.

One frozen picture, made anew when something changed. A process that writes nudges; besides, once a
second, the ledger is looked at if anybody wrote at all. With the store out of reach the last
picture stands. Imported by the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from engine.gateway import errors
from engine.prompting import rendering, sandbox
from storage import errors as faults
from storage import keys, knobs, ledger, models, prompts, releases, services
from storage.keys import Key
from storage.models import ModelVersion
from storage.releases import Release
from storage.services import Service
from storage.store import Store

_log = structlog.get_logger("gateway.catalogue")


@dataclass(frozen=True, slots=True)
class Picture:
    """The store as it was at one moment. `keys` by their hash, without the revoked ones."""

    services: Mapping[str, Service] = field(default_factory=dict)
    releases: Mapping[int, Release] = field(default_factory=dict)
    models: Mapping[int, ModelVersion] = field(default_factory=dict)
    prompts: Mapping[int, rendering.Prompt] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    knobs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def live(self) -> set[tuple[str, int]]:
        """The arms that get traffic, as (service, release)."""
        return {
            (service.name, arm.release)
            for service in self.services.values()
            for arm in service.split.arms
            if arm.weight_bp > 0
        }

    def resident(self) -> dict[int, Release]:
        """The releases that are arms, whatever their weight: their workers are kept."""
        return {
            arm.release: self.releases[arm.release]
            for service in self.services.values()
            for arm in service.split.arms
            if arm.release in self.releases
        }


class Catalogue:
    """The picture, and how it is kept fresh."""

    def __init__(self, store: Store, *, on_change: Callable[[Picture], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._looking = asyncio.Lock()
        self._sandbox = sandbox.Sandbox(strict=True)
        self._entry = -1
        self._stale = True
        self.picture = Picture()

    async def refresh(self) -> None:
        """Look at everything."""
        try:
            picture, entry = await self._read()
        except faults.StorageError as error:
            _log.warning("the store cannot be read; the last picture stands", reason=str(error))
            self._stale = True
            return
        self._stale = False
        self._entry = entry
        self.picture = picture
        self._on_change(picture)

    async def look(self) -> None:
        """Look at everything if anything was changed; measurements are no change."""
        async with self._looking:  # whoever comes second sees what the first one found
            try:
                if not (await self._store.changed() or self._stale):
                    return
                self._stale = True
                async with self._store.read() as s:
                    newest = await ledger.tail(s, 1)
            except faults.StorageError:
                return
            if (newest[0].id if newest else 0) != self._entry:
                await self.refresh()
            else:
                self._stale = False

    async def key(self, secret: str) -> Key | None:
        """The key with this secret, None when it is unknown or revoked."""
        digest = keys.digest(secret)
        if digest not in self.picture.keys:
            await self.look()  # perhaps it is new
        return self.picture.keys.get(digest)

    async def service(self, name: str) -> Service:
        """The service of this name.

        Raises:
            errors.NotFound: there is none.
        """
        if name not in self.picture.services:
            await self.look()  # perhaps it is new
        try:
            return self.picture.services[name]
        except KeyError:
            known = ", ".join(sorted(self.picture.services)) or "none yet"
            raise errors.NotFound(
                f"The model {name[:64]!r} does not exist here; there are: {known}.",
                code="model_not_found",
                param="model",
            ) from None

    async def release(self, name: str) -> Release:
        """The release that is called r14.

        Raises:
            errors.NotFound: there is none.
        """
        digits = name[1:]
        number = int(digits) if name[:1] == "r" and digits.isdecimal() and digits.isascii() else -1
        if number not in self.picture.releases:
            await self.look()  # perhaps it is new
        try:
            return self.picture.releases[number]
        except KeyError:
            raise errors.NotFound(
                f"There is no release {name[:64]!r}.",
                code="release_not_found",
                param="x-paddock-release",
            ) from None

    async def _read(self) -> tuple[Picture, int]:
        known = self.picture.prompts
        async with self._store.read() as s:
            newest = await ledger.tail(s, 1)
            picture = Picture(
                services={service.name: service for service in await services.every(s)},
                releases={release.number: release for release in await releases.every(s)},
                models={model.id: model for model in await models.every(s)},
                prompts={
                    version.id: known.get(version.id) or rendering.Prompt(version, self._sandbox)
                    for version in await prompts.every(s)
                },
                keys={k.sha256: k for k in await keys.every(s) if k.revoked_at_us is None},
            )
            workers = sorted({release.deployment for release in picture.resident().values()})
            settings = {worker: await knobs.of(s, worker) for worker in workers}
            picture = replace(picture, knobs=settings)
        return picture, newest[0].id if newest else 0
