"""The gateway's view of the store: services, releases, models, prompts, keys, knobs.

One frozen snapshot, followed by the next when the ledger has grown: processes that write send a
nudge, and the gateway also checks once a second. The split of its service is looked at by each
request, a read of microseconds. While the store cannot be read the last snapshot is used.
Imported by `engine.execution.plan`, the local backend and the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from engine.execution import failures, snapshot_reads
from engine.execution.snapshot import Snapshot
from engine.prompting.renderer.pool import Renderer
from storage import errors, keys, ledger, services
from storage.home.pepper import Pepper
from storage.keys import Key
from storage.releases import Release
from storage.services import Service
from storage.store import Session, Store

_LISTED: Final = 12
"""Services that an error lists."""

_log = structlog.get_logger("gateway.catalog")


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
        self._ahead: dict[str, Service] = {}  # switched since the snapshot was read

    async def refresh(self) -> None:
        """Read everything."""
        await self._update(None)

    async def _update(self, known: tuple[int, int] | None) -> None:
        """Read what followed the entry `known` of the ledger, or everything."""
        try:
            async with self._store.read() as s:
                entry = self._store.replaced, await ledger.newest(s)
                if entry == known and not self.locked:
                    self._stale = False
                    return
                await self._unlock(s)
                changes = None if known is None else await _changes(s, known, entry)
                if changes is None:
                    snapshot = await snapshot_reads.whole(s, self._renderer, self.snapshot)
                else:
                    snapshot = await snapshot_reads.after(s, self._renderer, self.snapshot, changes)
        except errors.StorageError as error:
            _log.warning("the store cannot be read; using the last snapshot", reason=str(error))
            self._stale = True
            return
        self._stale = False
        if entry[0] != self._entry[0]:
            self._ahead.clear()
        self._entry = entry
        if snapshot is not self.snapshot:
            self.snapshot = self._with_later_splits(snapshot)
            self._on_change(self.snapshot)

    def _with_later_splits(self, read: Snapshot) -> Snapshot:
        """A snapshot with the splits that requests have met since it was read."""
        self._ahead = {
            name: service
            for name, service in self._ahead.items()
            if name in read.services and read.services[name].split.id < service.split.id
        }
        return replace(read, services={**read.services, **self._ahead}) if self._ahead else read

    def _follow_split(self, known: Service) -> Service:
        """The service with the split it has at this moment, so that a switch waits for no nudge.

        Unless the split names a release that was not resident: that is loaded by the next look.
        """
        try:
            now = services.switched(self._store, known)
        except errors.StorageError:
            return known
        if now is None or not all(arm.release in self.snapshot.resident for arm in now.split.arms):
            return known
        self.snapshot = replace(self.snapshot, services={**self.snapshot.services, now.name: now})
        self._ahead[now.name] = now
        return now

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
        """Read what has changed if the ledger has grown since."""
        async with self._looking:  # a second caller uses what the first one read
            try:
                if not (await self._store.changed() or self._stale or self.locked):
                    return
            except errors.StorageError:
                return
            self._stale = True
            await self._update(self._entry)

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
        """The service of this name, with the split that is in force.

        Raises:
            failures.Unknown: there is none.
        """
        if name not in self.snapshot.services:
            await self.look()  # it may be new
        try:
            return self._follow_split(self.snapshot.services[name])
        except KeyError:
            known = sorted(self.snapshot.services)
            listed = ", ".join(known[:_LISTED]) or "none yet"
            if more := len(known[_LISTED:]):
                listed += f" and {more} more, see GET /v1/models"
            raise failures.Unknown(
                f"the model {name[:64]!r} does not exist here; the services are: {listed}",
                code="model_not_found",
                param="model",
            ) from None

    async def release(self, name: str) -> Release:
        """The release of this name, such as r14, that a person asks for.

        Raises:
            failures.Unknown: there is none, or it is retired.
        """
        digits = name[1:]
        number = int(digits) if name[:1] == "r" and digits.isdecimal() and digits.isascii() else -1
        if number not in self.snapshot.releases:
            await self.look()  # it may be new
        if number in self.snapshot.retired:
            raise failures.Unknown(
                f"{name} is retired; `paddock releases unretire {name}` brings it back",
                code="release_retired",
                param="x-paddock-release",
            )
        try:
            return self.snapshot.releases[number]
        except KeyError:
            raise failures.Unknown(
                f"there is no release {name[:64]!r}",
                code="release_not_found",
                param="x-paddock-release",
            ) from None


async def _changes(
    s: Session, known: tuple[int, int], now: tuple[int, int]
) -> list[ledger.Change] | None:
    """What followed the entry `known`; None where it is too much, or in another file."""
    if known[0] != now[0] or not 0 <= known[1] <= now[1]:
        return None
    found = await ledger.changes(s, known[1], snapshot_reads.CHANGES + 1)
    return None if len(found) > snapshot_reads.CHANGES else found
