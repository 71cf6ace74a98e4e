"""The workers that the splits name: begun, kept, tried again, and let go when their work is done.

Reads the store and compares; starting and stopping is the parts' own. Imported by
`engine.node.node`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from engine.node import commands, file_check, placement
from engine.node.specs import Spec
from engine.node.supervised import Part
from storage import models, processes, releases, services
from storage.home.paths import Home
from storage.processes import Kind
from storage.store import Store

Fit = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class _Picture:
    """`wanted` may be started; `named` are in a split; `known` have a record."""

    wanted: Mapping[str, placement.Worker]
    named: frozenset[str]
    known: frozenset[str]


class Workers:
    """Follows the splits. `begin` starts a part, `forget` closes the record of one that is gone."""

    def __init__(
        self,
        home: Home,
        store: Store,
        parts: Mapping[str, Part],
        *,
        begin: Callable[[Spec, Fit], None],
        forget: Callable[[str], None],
        now_us: Callable[[], int],
    ) -> None:
        """All parts are given; those that are no workers are left alone."""
        self._home = home
        self._store = store
        self._parts = parts
        self._begin = begin
        self._forget = forget
        self._now_us = now_us
        self._unnamed: dict[str, int] = {}
        self._shelved: set[str] = set()
        self.linger_us = commands.linger_us()

    @property
    def leaving(self) -> bool:
        """Whether some are still there that no split names."""
        return bool(self._unnamed)

    async def follow(self) -> None:
        """Do what the splits say now."""
        picture = await self._look()
        for name in picture.known - picture.named - self._parts.keys():
            self._forget(name)
        for name, worker in picture.wanted.items():
            part = self._parts.get(name)
            if part is None:
                # Before each start: a file may be replaced while its worker runs, too.
                fit = functools.partial(file_check.changed, worker)
                self._begin(commands.worker(self._home, worker), fit)
            elif part.given_up and name in self._shelved:  # its file was added again
                part.again()
        self._shelved = {
            name
            for name, part in self._parts.items()
            if part.given_up and name in picture.named - picture.wanted.keys()
        }
        self._let_go(picture.named)

    def _let_go(self, named: frozenset[str]) -> None:
        """Those that no split names leave once they have nothing to do.

        Until then they serve: requests end where they began, and going back costs nothing. The
        gateway may not have read the new split yet, so even the idle ones wait for a while.
        """
        now = self._now_us()
        workers = {name for name, part in self._parts.items() if part.spec.kind == "worker"}
        self._unnamed = {name: self._unnamed.get(name, now) for name in workers - named}
        for name, since in self._unnamed.items():
            part = self._parts[name]
            idle = not part.working and now - since >= self.linger_us
            if idle or part.fact.state == "crashed":
                part.stop()

    async def _look(self) -> _Picture:
        async with self._store.read() as session:
            every = await services.every(session)
            numbers = {arm.release for service in every for arm in service.split.arms}
            found = {number: await releases.get(session, number) for number in numbers}
            versions = {version.id: version for version in await models.every(session)}
            rows = await processes.every(session)
        return _Picture(
            placement.plan(every, found, versions),
            placement.named(every, found),
            frozenset(row.name for row in rows if row.kind is Kind.WORKER),
        )
