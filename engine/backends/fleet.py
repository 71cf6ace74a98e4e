"""The workers that the gateway talks to: one client each, with the lanes and knobs it should have.

Follows the snapshot of the store; never starts or stops a worker. Imported by the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from engine.backends.pending import PENDING_LIMIT
from engine.backends.worker_client import WorkerClient
from engine.execution import failures
from engine.execution.catalog import Snapshot
from engine.metering.windows import Windows
from engine.prompting import rendering, sandbox
from engine.serving import wire
from engine.serving.knobs import Knobs
from storage import deployments
from storage.home.paths import Home
from storage.models import Kind, Status
from storage.releases import Engine, Release

SILENCE_US: Final = 10_000_000
RETRY_US: Final = 1_000_000

_log = structlog.get_logger("gateway.fleet")


@dataclass(slots=True)
class Member:
    """A worker: its client, and its model's chat template once it has said hello."""

    name: str
    client: WorkerClient
    task: asyncio.Task[None]
    template: rendering.ChatTemplate | None = None
    _here: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: int = 0

    def greeted(self, template: rendering.ChatTemplate) -> None:
        """The worker has said hello."""
        self.template = template
        self._here.set()

    async def introduced(self, within_s: float) -> None:
        """Wait for a worker that was never there yet.

        Raises:
            failures.Unavailable: it did not come.
            failures.Overloaded: too many wait for it already.
        """
        if self._waiting >= PENDING_LIMIT:
            raise failures.Overloaded(
                f"worker {self.name} is not there and {PENDING_LIMIT} requests wait for it",
                code="queue_full",
                retry_after_us=RETRY_US,
            )
        self._waiting += 1
        try:
            await asyncio.wait_for(self._here.wait(), within_s)
        except TimeoutError as error:
            raise failures.Unavailable(
                f"worker {self.name} was not there within {within_s:g} s",
                code="worker_unavailable",
                retry_after_us=RETRY_US,
            ) from error
        finally:
            self._waiting -= 1


class Fleet:
    """All workers by name."""

    def __init__(self, home: Home, windows: Windows, *, now_us: Callable[[], int]) -> None:
        self._home = home
        self._windows = windows
        self._now_us = now_us
        self._sandbox = sandbox.Sandbox(strict=False)
        self._snapshot = Snapshot()
        self.members: dict[str, Member] = {}
        self._leaving: list[Member] = []

    def follow(self, snapshot: Snapshot) -> None:
        """Connect to the workers that are needed now, and let go of the others."""
        self._snapshot = snapshot
        needed: dict[str, list[Release]] = {}
        for release in snapshot.resident().values():
            if release.engine is None:
                continue
            needed.setdefault(release.deployment, []).append(release)
        for name, served in needed.items():
            member = self.members.get(name) or self._back(name) or self._join(name)
            member.client.want_knobs(self._knobs(served[0]))
            member.client.want_adapters(
                {release.adapter: lane for release in served if (lane := self.lane(release))}
            )
            member.client.poke()
        for name in self.members.keys() - needed.keys():
            self._leaving.append(self.members.pop(name))
        self.sweep()

    def sweep(self) -> None:
        """Close the clients of workers that are needed no more, once they have nothing to do."""
        for member in [m for m in self._leaving if not m.client.busy]:
            member.client.close()
            self._leaving.remove(member)

    async def close(self, why: str = "the box is being stopped; send the request again") -> None:
        """Let go of all; what is under way ends with that."""
        everybody = [*self.members.values(), *self._leaving]
        for member in everybody:
            member.client.close(why)
        await asyncio.gather(*(member.task for member in everybody), return_exceptions=True)

    def lane(self, release: Release) -> wire.LoadAdapter | None:
        """What a release's worker needs besides the weights; never what kills workers."""
        adapter = self._snapshot.models.get(release.model_version_id or 0)
        if not release.adapter or adapter is None or adapter.status is Status.UNLOADABLE:
            return None
        return wire.LoadAdapter(release.adapter, adapter.path, adapter.sha256)

    async def ready(self, release: Release, within_us: int) -> Member:
        """The worker that serves a release; one that was never seen yet is waited for.

        Raises:
            failures.Unavailable: there is none, or it did not come in time.
            failures.Overloaded: too many requests wait for it already.
        """
        hopeless = self.hopeless(release)
        if hopeless is not None:
            raise failures.Unavailable(hopeless, code="release_unavailable")
        member = self.members[release.deployment]
        if member.template is None:
            await member.introduced(within_us / 1e6)
        return member

    def unable(self, release: Release) -> str | None:
        """Why a release cannot produce tokens now, None when it can."""
        reason = self.hopeless(release)
        if reason is not None:
            return reason
        client = self.members[release.deployment].client
        if client.hello is None:
            return f"worker {release.deployment} is not connected"
        if not client.serves(release.adapter):
            return f"worker {release.deployment} is opening the adapter of {release.name}"
        if client.silent_us > SILENCE_US:
            silent = client.silent_us // 1_000_000
            return (
                f"worker {release.deployment} computed nothing for {silent} s although work waits"
            )
        return None

    def hopeless(self, release: Release) -> str | None:
        """Why waiting for a release does not help, None when it might."""
        member = self.members.get(release.deployment)
        if member is None:
            return f"release {release.name} is loaded nowhere: it is in no service's split"
        adapter = self._snapshot.models.get(release.model_version_id or 0)
        base = self._snapshot.models.get(adapter.base_id or -1) if adapter else None
        for model in (adapter, base):
            if model is None or model.status is not Status.UNLOADABLE:
                continue
            if (
                model.kind is Kind.ADAPTER or member.client.hello is None
            ):  # else it has it in memory
                return f"model {model.name} cannot be loaded: {model.status_reason}"
        failed = member.client.failed.get(release.adapter)
        return f"the adapter of {release.name} cannot be used: {failed}" if failed else None

    def _back(self, name: str) -> Member | None:
        """One that was let go and still has work: its worker speaks to one client at a time."""
        for member in self._leaving:
            if member.name == name:
                self._leaving.remove(member)
                self.members[name] = member
                return member
        return None

    def _join(self, name: str) -> Member:
        window = self._windows.instance(name)

        def greeted(hello: wire.Hello) -> None:
            _log.info("a worker is here", worker=name, pid=hello.pid, build=hello.build)
            member.greeted(rendering.ChatTemplate(hello, self._sandbox))

        client = WorkerClient(
            self._home.worker(deployments.instance(name, 1)),
            now_us=self._now_us,
            on_step=window.step,
            on_hello=greeted,
        )
        task = asyncio.create_task(client.run(), name=f"worker {name}")
        member = self.members[name] = Member(name, client, task)
        return member

    def _knobs(self, release: Release) -> dict[str, int]:
        """All knobs, those that nobody set as the worker's start has them."""
        engine = release.engine or Engine()
        started = Knobs().changed(
            {
                "max_running": engine.max_sequences,
                "prefill_budget": engine.prefill_budget,
            }
        )
        return started.values() | dict(self._snapshot.knobs.get(release.deployment, {}))
