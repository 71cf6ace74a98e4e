"""The backend for releases on supervised servers: picks the least loaded instance that is ready.

The node starts and stops the servers; their shims publish where they listen. A request of which
nothing was passed on survives the death of its instance: it is sent to another one, or to the
replacement. Implements `protocol.Backend`. Imported by the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from engine.backends import least_loaded
from engine.backends.expected_starts import ExpectedStarts
from engine.backends.upstream import faults, scoring
from engine.backends.upstream.exchange import Batches, Exchange
from engine.backends.upstream.health import Health, Targets
from engine.backends.upstream.server import Lost, Server, Settings
from engine.execution import failures
from engine.execution.failures import Failure
from engine.execution.job import Job, Restarted, Score, Scored
from engine.metering.windows import Row
from engine.process import address
from engine.process.address import Address, Lease
from storage.home import clock
from storage.home.paths import Home
from storage.releases import Release

LOOK_S: Final = 0.1
"""How often a request that waits for an instance checks for one."""
ATTEMPTS: Final = 4
_READ_S: Final = 60.0
_INSTANCE_GONE: Final = frozenset({"upstream_unreachable", "upstream_lost"})


@dataclass(slots=True)
class Instance:
    """A published instance of a server. `lease` is held while it has `jobs`."""

    name: str
    address: Address
    server: Server
    health: Health
    task: asyncio.Task[None]
    jobs: int = 0
    lease: Lease | None = None


class Servers:
    """The instances of all supervised servers that splits name."""

    def __init__(self, home: Home, starts: ExpectedStarts | None = None) -> None:
        """`follow` says which deployments there are."""
        self._home = home
        self._starts = starts or ExpectedStarts(clock.monotonic_us)
        self._releases: dict[str, Release] = {}
        self._leaving: list[Instance] = []
        self._abilities = scoring.Abilities()
        self._picked = -1
        self.instances: dict[str, Instance] = {}
        self.waiting = 0
        """Requests that wait for an instance to become ready."""

    def follow(self, releases: Iterable[Release]) -> None:
        """Serve those of these releases that are on supervised servers."""
        self._releases = {each.deployment: each for each in releases if each.server is not None}
        self.tick()

    def tick(self) -> None:
        """Connect to the instances that are published now, and drop the others."""
        found = {
            path.stem.removeprefix("server-"): at
            for deployment in self._releases
            for path in self._home.run.glob(f"server-{deployment}:*.json")
            if (at := address.read(path)) is not None
        }
        for name, instance in list(self.instances.items()):
            if found.get(name) != instance.address:
                self._leaving.append(self.instances.pop(name))
        for name, at in found.items():
            if name not in self.instances:
                self.instances[name] = self._join(name, at)
        self._sweep()

    def _sweep(self) -> None:
        """Close dropped instances once their requests have ended."""
        for instance in [each for each in self._leaving if not each.jobs]:
            self._leaving.remove(instance)
            instance.task.cancel()
            closing = asyncio.ensure_future(instance.server.close())
            closing.add_done_callback(lambda done: done.exception())

    @property
    def absent(self) -> list[str]:
        """The deployments that have no instance."""
        return [name for name in self._releases if not self._of(name)]

    async def close(self) -> None:
        """Close everything; requests under way fail."""
        everyone = [*self.instances.values(), *self._leaving]
        self.instances, self._leaving, self._releases = {}, [], {}
        for instance in everyone:
            instance.task.cancel()
        await asyncio.gather(*(each.task for each in everyone), return_exceptions=True)
        await self._abilities.close()
        for instance in everyone:
            await instance.server.close()

    async def run(self, job: Job) -> Batches:
        """As `protocol.Backend.run`.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        attempts = 0
        while True:
            attempts += 1
            yielded = False
            instance = await self._ready(job.release, job.arrived_us + job.queue_us)
            try:
                async with contextlib.aclosing(self._on(instance, job)) as batches:
                    async for batch in batches:
                        yielded = True
                        yield batch
            except (Failure, Lost) as error:
                if not _gone(error) or (yielded and job.stream) or attempts == ATTEMPTS:
                    if isinstance(error, Lost):
                        raise faults.lost(instance.name, str(error)) from error
                    raise
                instance.health.down("it closed its connections")
                if yielded:
                    yield (Restarted(),)
            else:
                return

    async def score(self, score: Score) -> Scored:
        """As `protocol.Backend.score`."""
        instance = await self._ready(score.release, clock.monotonic_us() + score.queue_us)
        self._enter(instance)
        try:
            return await scoring.score(instance.server, _model(score.release), score)
        finally:
            self._leave(instance)

    def scores(self, release: Release) -> bool:
        """Whether the server returns what scoring needs; probed once, then known."""
        name, model = release.deployment, _model(release)
        ready = [each for each in self._of(name) if each.health.reason is None]
        if not ready:
            return self._abilities.known(name, model) or False
        return self._abilities.find_out(name, model, ready[0].server)

    def unready(self, release: Release) -> str | None:
        """Why the release cannot produce tokens now, as a clause; None when it can."""
        instances = self._of(release.deployment)
        if not instances:
            return f"no instance of server {release.deployment} is ready"
        if any(each.health.reason is None for each in instances):
            return None
        return f"server {instances[0].name} cannot answer: {instances[0].health.reason}"

    def rows(self, second: int) -> Iterator[Row]:
        """The samples of a second that is over."""
        for name, instance in self.instances.items():
            yield from instance.health.rows(second, name)

    async def _on(self, instance: Instance, job: Job) -> Batches:
        """A job on one instance, with a lease on it meanwhile."""
        self._enter(instance)
        talk = Exchange(
            instance.server, instance.health, _model(job.release), instance=instance.name
        )
        try:
            async with contextlib.aclosing(talk.attempt(job)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._leave(instance)

    def _enter(self, instance: Instance) -> None:
        if instance.lease is None:
            try:
                instance.lease = Lease(self._home.server(instance.name))
            except OSError as error:
                self.tick()
                raise Lost("it is being stopped") from error
        instance.jobs += 1

    def _leave(self, instance: Instance) -> None:
        instance.jobs -= 1
        if instance.jobs == 0 and instance.lease is not None:
            instance.lease.close()
            instance.lease = None

    async def _ready(self, release: Release, until_us: int) -> Instance:
        """The least loaded instance that can answer; waits for one until a time.

        Raises:
            failures.Unavailable: there was none in time.
        """
        while True:
            self.tick()
            instances = self._of(release.deployment)
            picked = least_loaded.pick([_load(each) for each in instances], self._picked)
            if picked is not None:
                self._picked = picked
                return instances[picked]
            if clock.monotonic_us() >= until_us:
                raise failures.Unavailable(
                    self.unready(release) or "no instance was ready in time",
                    code="server_unavailable",
                    retry_after_us=self._starts.retry_us(release.deployment),
                )
            self.waiting += 1
            try:
                await asyncio.sleep(LOOK_S)
            finally:
                self.waiting -= 1

    def _of(self, deployment: str) -> list[Instance]:
        return [
            instance
            for name, instance in self.instances.items()
            if name.rpartition(":")[0] == deployment
        ]

    def _join(self, name: str, at: Address) -> Instance:
        settings = self._releases[name.rpartition(":")[0]].server
        limit = 1 if settings is None else settings.max_sequences
        server = Server(
            Settings(
                name=name,
                url=f"{at.root}/v1",
                max_connections=limit,
                first_event_s=3600.0,  # the job's own deadline is the shorter one
                read_s=_READ_S,
            )
        )
        health = Health(server, Targets(f"{at.root}{at.health_path}", f"{at.root}/metrics"))
        health.succeeded()  # its shim has found it healthy
        task = asyncio.create_task(health.run(), name=f"health of server {name}")
        return Instance(name, at, server, health, task)


def _load(instance: Instance) -> int | None:
    """Requests that it has or that wait for it; None while it cannot answer."""
    if instance.health.reason is not None:
        return None
    return instance.server.slots.used + instance.server.slots.waiting


def _model(release: Release) -> str:
    return "" if release.server is None else release.server.model


def _gone(error: Exception) -> bool:
    """Whether an instance died or is stopping, so that another one may be tried."""
    return isinstance(error, Lost) or getattr(error, "code", "") in _INSTANCE_GONE
