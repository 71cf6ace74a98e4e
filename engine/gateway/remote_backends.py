"""The backends for upstreams and supervised servers, imported when they are first needed.

Importing their HTTP client takes a fifth of a second, and most gateways start without any upstream:
a restarted gateway is ready that much earlier. Imported by `engine.gateway.server`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from engine.backends.expected_starts import ExpectedStarts
from engine.backends.protocol import Backend
from engine.execution.snapshot import Snapshot
from engine.metering.windows import Row
from storage import upstream_health
from storage.home.paths import Home
from storage.store import Session, Store

if TYPE_CHECKING:  # see above
    from engine.backends.upstream.backend import Member, Upstreams
    from engine.backends.upstream.supervised import Instance, Servers

_PACKAGE = "engine.backends.upstream"


class Remotes:
    """Registered upstreams and supervised servers; adds its backends to `backends` when needed."""

    def __init__(self, home: Home, backends: dict[str, Backend], starts: ExpectedStarts) -> None:
        self._home = home
        self._starts = starts
        self._backends = backends
        self._upstreams: Upstreams | None = None
        self._servers: Servers | None = None
        self._recorded: dict[str, str | None] = {}

    def follow(self, snapshot: Snapshot) -> None:
        """Use the upstreams and servers that the store holds now."""
        needed = snapshot.upstreams or any(
            release.engine is None for release in snapshot.releases.values()
        )
        if needed and self._upstreams is None:
            self._load()
        if self._upstreams is not None and self._servers is not None:
            self._upstreams.follow(snapshot.upstreams.values(), snapshot.releases.values())
            self._servers.follow(snapshot.resident.values())

    @property
    def held(self) -> int:
        """The requests that wait for an instance of a supervised server.

        Those that wait for an upstream are counted in its samples.
        """
        return 0 if self._servers is None else self._servers.waiting

    @property
    def absent(self) -> list[str]:
        """The deployments of supervised servers that have no instance."""
        return [] if self._servers is None else self._servers.absent

    @property
    def waiting(self) -> int:
        """The requests that wait for a connection to an upstream, or for an instance."""
        slots = (member.server.slots for member in self.upstreams.values())
        return self.held + sum(each.waiting for each in slots)

    def tick(self) -> None:
        """The per-second tick."""
        for each in self._loaded():
            each.tick()

    def rows(self, second: int) -> Iterator[Row]:
        """The samples of a second that is over."""
        for each in self._loaded():
            yield from each.rows(second)

    async def record(self, store: Store, at_us: int) -> None:
        """Record which upstreams became ready or unready since the last call.

        Raises:
            storage.errors.StorageError: the store cannot be written; the next call tries again.
        """
        now = {} if self._upstreams is None else self._upstreams.reasons()
        known = self._recorded
        changed = {
            name: reason
            for name, reason in now.items()
            if name not in known or (reason is None) != (known[name] is None)
        }

        async def work(s: Session) -> None:
            for name, reason in changed.items():
                await upstream_health.observe(s, name, reason, at_us)

        if changed:
            await store.write(work)
        self._recorded = now

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        for each in self._loaded():
            await each.close()

    @property
    def upstreams(self) -> Mapping[str, Member]:
        """The registered upstreams by name."""
        return {} if self._upstreams is None else self._upstreams.members

    @property
    def servers(self) -> Mapping[str, Instance]:
        """The instances of supervised servers by name."""
        return {} if self._servers is None else self._servers.instances

    def _loaded(self) -> list[Upstreams | Servers]:
        return [each for each in (self._upstreams, self._servers) if each is not None]

    def _load(self) -> None:
        registered = importlib.import_module(f"{_PACKAGE}.backend")
        supervised = importlib.import_module(f"{_PACKAGE}.supervised")
        self._upstreams = registered.Upstreams(self._home)
        self._servers = supervised.Servers(self._home, self._starts)
        self._backends |= {"upstream": self._upstreams, "server": self._servers}
