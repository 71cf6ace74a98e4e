"""The backend for releases that name a registered upstream. Implements `protocol.Backend`.

Follows the records of the store; the servers themselves are started and stopped by others. Imported
by the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from engine.backends.upstream import scoring
from engine.backends.upstream.exchange import Batches, Exchange
from engine.backends.upstream.health import Health, Targets
from engine.backends.upstream.server import Server, Settings
from engine.execution import failures
from engine.execution.job import Chat, Job, Score, Scored
from engine.metering.windows import Row
from storage import errors, upstreams
from storage.home import secrets
from storage.home.paths import Home
from storage.releases import Release
from storage.upstreams import Upstream

_SECOND_US: Final = 1_000_000

_log = structlog.get_logger("gateway.upstreams")


@dataclass(slots=True)
class Member:
    """A registered upstream with its connections; `fault` is why it cannot be used at all."""

    record: Upstream
    server: Server
    health: Health
    task: asyncio.Task[None]
    fault: str | None = None


class Upstreams:
    """All registered upstreams by name."""

    def __init__(self, home: Home) -> None:
        """`follow` says which there are."""
        self._home = home
        self._leaving: list[Member] = []
        self._abilities = scoring.Abilities()
        self._deployments: dict[str, str] = {}
        self.members: dict[str, Member] = {}

    def follow(self, records: Iterable[Upstream], releases: Iterable[Release] = ()) -> None:
        """Connect to the upstreams that are registered now, and drop the others.

        `releases` give the deployment under whose name an upstream is sampled.
        """
        self._deployments = {
            release.upstream.name: release.deployment for release in releases if release.upstream
        }
        wanted = {record.name: record for record in records}
        for name, member in list(self.members.items()):
            if wanted.get(name) != member.record:
                self._leaving.append(self.members.pop(name))
                self._abilities.forget(name)
        for name, record in wanted.items():
            if name not in self.members:
                self.members[name] = self._join(record)
        self.tick()

    def tick(self) -> None:
        """Close dropped upstreams once their requests have ended."""
        for member in [m for m in self._leaving if not m.server.slots.used]:
            self._leaving.remove(member)
            member.task.cancel()
            closing = asyncio.ensure_future(member.server.close())
            closing.add_done_callback(lambda done: done.exception())

    async def close(self) -> None:
        """Close everything; requests under way fail."""
        everyone = [*self.members.values(), *self._leaving]
        self.members, self._leaving = {}, []
        for member in everyone:
            member.task.cancel()
        await asyncio.gather(*(member.task for member in everyone), return_exceptions=True)
        await self._abilities.close()
        for member in everyone:
            await member.server.close()

    def run(self, job: Job) -> Batches:
        """As `protocol.Backend.run`."""
        member, model = self._of(job.release)
        return Exchange(
            member.server,
            member.health,
            model,
            extensions=member.record.extensions,
            instance=_instance(job.release.deployment),
        ).run(job)

    async def score(self, score: Score) -> Scored:
        """As `protocol.Backend.score`."""
        member, model = self._of(score.release)
        name = member.record.name
        if member.record.scores is False or self._abilities.known(name, model) is False:
            raise scoring.unsupported(name)
        try:
            scored = await scoring.score(member.server, model, score)
        except failures.Failure as failure:
            if failure.code == "scoring_unsupported" and not isinstance(score.input, Chat):
                self._abilities.learn(name, model, scores=False)
            raise
        self._abilities.learn(name, model, scores=True)
        return scored

    def scores(self, release: Release) -> bool:
        """Whether the server returns what scoring needs; probed once for each model."""
        if release.upstream is None:
            return False
        name, model = release.upstream.name, release.upstream.model
        member = self.members.get(name)
        if member is None or member.fault is not None:
            return False
        if member.record.scores is not None:
            return member.record.scores
        if member.health.reason is not None:
            return self._abilities.known(name, model) or False
        return self._abilities.find_out(name, model, member.server)

    def unready(self, release: Release) -> str | None:
        """Why the release cannot produce tokens now, as a clause; None when it can."""
        if release.upstream is None:
            return f"release {release.name} names no upstream"
        name = release.upstream.name
        member = self.members.get(name)
        if member is None:
            return f"upstream {name} is not registered"
        if member.fault is not None:
            return f"upstream {name} cannot be used: {member.fault}"
        reason = member.health.reason
        return None if reason is None else f"upstream {name} cannot answer: {reason}"

    def rows(self, second: int) -> Iterator[Row]:
        """The samples of a second that is over."""
        for name, member in self.members.items():
            yield from member.health.rows(second, _instance(self._deployments.get(name, name)))

    def reasons(self) -> dict[str, str | None]:
        """Why each upstream cannot answer now; None for those that can."""
        return {name: member.fault or member.health.reason for name, member in self.members.items()}

    def _of(self, release: Release) -> tuple[Member, str]:
        if release.upstream is None:
            raise failures.Broken(
                f"release {release.name} names no upstream", code="upstream_missing"
            )
        member = self.members.get(release.upstream.name)
        if member is None:
            raise failures.Broken(
                f"upstream {release.upstream.name} is not registered; "
                "`paddock upstreams add` registers it",
                code="upstream_missing",
                release_fault=True,
            )
        if member.fault is not None:
            raise failures.Broken(
                f"upstream {member.record.name} cannot be used: {member.fault}",
                code="upstream_key_missing",
            )
        return member, release.upstream.model

    def _join(self, record: Upstream) -> Member:
        key = fault = None
        if record.secret is not None:
            try:
                key = secrets.read(self._home, record.secret)
            except errors.NotFound as error:
                fault = str(error)
                _log.error("an upstream has no key", upstream=record.name, reason=fault)
        server = Server(
            Settings(
                name=record.name,
                url=record.url,
                key=key,
                max_connections=record.max_connections,
                connect_s=record.connect_timeout_us / _SECOND_US,
                first_event_s=record.first_event_timeout_us / _SECOND_US,
                read_s=record.read_timeout_us / _SECOND_US,
            )
        )
        metrics = record.metrics_path
        health = Health(
            server,
            Targets(
                upstreams.address(record, record.health_path),
                None if metrics is None else upstreams.address(record, metrics),
            ),
        )
        task = asyncio.create_task(health.run(), name=f"health of upstream {record.name}")
        return Member(record, server, health, task, fault)


def _instance(deployment: str) -> str:
    """The name under which requests and samples record an upstream, as its only instance."""
    return f"{deployment}:1"
