"""The pools of all deployments that services use, with their instances, knobs and adapters.

Follows the catalog; never starts or stops a worker. Imported by the local backend and the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import structlog

from engine.backends.constraint_checker import Checker
from engine.backends.expected_starts import ExpectedStarts
from engine.backends.pool import Instance, Pool
from engine.backends.worker_client import WorkerClient
from engine.execution import failures
from engine.execution.snapshot import Snapshot
from engine.metering.windows import Windows
from engine.prompting.renderer.pool import Renderer
from engine.serving import wire
from engine.serving.knobs import Knobs
from storage import deployments
from storage.home.paths import Home
from storage.models import Kind, Status
from storage.releases import Engine, Release

_log = structlog.get_logger("gateway.fleet")


class Fleet:
    """Pools by the name of their deployment."""

    def __init__(
        self,
        home: Home,
        windows: Windows,
        renderer: Renderer,
        starts: ExpectedStarts | None = None,
        *,
        now_us: Callable[[], int],
    ) -> None:
        """`now_us` is monotonic; `renderer` renders chat templates."""
        self._home = home
        self._starts = starts or ExpectedStarts(now_us)
        self._windows = windows
        self._now_us = now_us
        self._renderer = renderer
        self._released: list[Pool] = []
        self.snapshot = Snapshot()
        self.pools: dict[str, Pool] = {}
        self.checker = Checker()
        """Tries constraints before a worker gets them."""

    def follow(self, snapshot: Snapshot) -> None:
        """Connect to the instances that are needed now, and release the others."""
        self.snapshot = snapshot
        needed: dict[str, list[Release]] = {}
        for release in snapshot.resident.values():
            if release.engine is not None:
                needed.setdefault(release.deployment, []).append(release)
        for name, served in needed.items():
            if name not in self.pools:
                self.pools[name] = self._reclaim(name) or Pool(
                    name, self._connect, self._renderer, self._starts, now_us=self._now_us
                )
            adapters = [adapter for each in served if (adapter := self.adapter(each))]
            self.pools[name].follow(
                self._instances(name),
                self._knobs(served[0]),
                {adapter.adapter: adapter for adapter in adapters},
            )
        for name in self.pools.keys() - needed.keys():
            pool = self.pools.pop(name)
            pool.follow((), {}, {})
            self._released.append(pool)
        self.sweep()

    def pool(self, release: Release) -> Pool:
        """The pool that answers for a release, with its adapter loaded or being loaded.

        Raises:
            failures.Unavailable: waiting for it does not help.
        """
        hopeless = self.hopeless(release)
        if hopeless is not None:
            raise failures.Unavailable(hopeless, code="release_unavailable")
        pool = self.pools[release.deployment]
        adapter = self.adapter(release)
        if adapter is not None:
            pool.load(adapter)
        return pool

    def sweep(self) -> None:
        """Disconnect from what is no longer needed, once it is idle; refuse what waits in vain."""
        self._refuse_hopeless()
        for pool in (*self.pools.values(), *self._released):
            pool.sweep()
        self._released = [pool for pool in self._released if pool.busy]

    def _refuse_hopeless(self) -> None:
        """Requests that were accepted before it became known that they cannot be answered."""
        waiting: dict[str, dict[str, list[Release]]] = {}
        for release in self.snapshot.resident.values():
            pool = self.pools.get(release.deployment)
            if pool is not None and pool.held:
                waiting.setdefault(pool.deployment, {}).setdefault(release.adapter, []).append(
                    release
                )
        for name, adapters in waiting.items():
            reasons = {
                adapter: [self.hopeless(release) for release in releases]
                for adapter, releases in adapters.items()
            }
            vain = {a: found[0] for a, found in reasons.items() if found[0] and all(found)}
            for adapter, reason in vain.items():
                self.pools[name].refuse_held(adapter, reason)
            if len(vain) == len(adapters):
                self.pools[name].refuse_waiting(next(iter(vain.values())))

    async def close(self, why: str = "the gateway is stopping; send the request again") -> None:
        """End everything with a reason, and disconnect."""
        pools = [*self.pools.values(), *self._released]
        await asyncio.gather(*(pool.close(why) for pool in pools), self.checker.close())

    @property
    def absent(self) -> list[str]:
        """The deployments that have no connected instance."""
        return [name for name, pool in self.pools.items() if not pool.connected]

    def instances(self) -> Iterator[tuple[str, Instance]]:
        """All instances with their deployment; also those that only finish what they have."""
        for pool in (*self.pools.values(), *self._released):
            for instance in pool.everything:
                yield pool.deployment, instance

    @property
    def held(self) -> int:
        """The requests that no instance counts as running or waiting."""
        return sum(pool.held for pool in (*self.pools.values(), *self._released))

    @property
    def waiting(self) -> int:
        """The requests that wait for a place on an instance, as the instances last counted them."""
        steps = (instance.client.step for _, instance in self.instances())
        return sum(step.waiting for step in steps if step is not None)

    def adapter(self, release: Release) -> wire.LoadAdapter | None:
        """The adapter that a release needs; None for one that is known to kill workers."""
        model = self.snapshot.models.get(release.model_version_id or 0)
        if not release.adapter or model is None or model.status is Status.UNLOADABLE:
            return None
        return wire.LoadAdapter(release.adapter, model.path, model.sha256)

    def unready(self, release: Release) -> str | None:
        """Why a release cannot answer a chat now, as a clause; None when it can.

        What waiting does not mend is said before what it may.
        """
        reason = self.hopeless(release) or self.unable(release)
        if reason is not None:
            return reason
        pool = self.pools[release.deployment]
        reason = pool.unready(release.adapter)
        if reason is None and pool.template is None:
            reason = f"the chat template of {release.deployment} is being compiled"
        return reason

    def unable(self, release: Release) -> str | None:
        """What is wrong with the chat template or the prompt of a release; None when nothing is."""
        pool = self.pools.get(release.deployment)
        if pool is not None and pool.template is not None and pool.template.fault is not None:
            return pool.template.fault
        prompt = self.snapshot.prompts.get(release.prompt_version_id or 0)
        return None if prompt is None else prompt.fault

    def hopeless(self, release: Release) -> str | None:
        """Why waiting for a release does not help, as a clause; None when it might."""
        deployment = self.snapshot.deployments.get(release.deployment)
        if deployment is not None and deployment.status is deployments.Status.FAILING:
            return f"deployment {release.deployment} is failing: {deployment.status_reason}"
        pool = self.pools.get(release.deployment)
        if pool is None:
            return f"release {release.name} is not loaded: it is in no service's split"
        adapter = self.snapshot.models.get(release.model_version_id or 0)
        base = self.snapshot.models.get(adapter.base_id or -1) if adapter else None
        for model in (adapter, base):
            if model is None or model.status is not Status.UNLOADABLE:
                continue
            if model.kind is Kind.ADAPTER or not pool.connected:  # else it is in memory
                return f"model {model.name} cannot be loaded: {model.status_reason}"
        failed = pool.failed(release.adapter)
        return f"the adapter of {release.name} cannot be used: {failed}" if failed else None

    def _instances(self, deployment: str) -> tuple[str, ...]:
        known = self.snapshot.deployments.get(deployment)
        return (deployments.instance(deployment, 1),) if known is None else known.instances

    def _reclaim(self, name: str) -> Pool | None:
        """A released pool that is still busy."""
        for pool in self._released:
            if pool.deployment == name:
                self._released.remove(pool)
                return pool
        return None

    def _connect(self, name: str, pool: Pool) -> WorkerClient:
        def greeted(hello: wire.Hello) -> None:
            _log.info("a worker connected", instance=name, pid=hello.pid, build=hello.build)
            pool.greeted(hello)

        return WorkerClient(
            self._home.worker(name),
            now_us=self._now_us,
            on_step=self._windows.instance(name).step,
            on_hello=greeted,
            pending=pool.pending,
            on_change=pool.dispatch,
        )

    def _knobs(self, release: Release) -> dict[str, int]:
        """All knobs of a deployment; knobs that were never set follow its engine settings."""
        engine = release.engine or Engine()
        started = Knobs().changed(
            {
                "max_running": engine.max_sequences,
                "prefill_budget": engine.prefill_budget,
            }
        )
        return started.values() | dict(self.snapshot.knobs.get(release.deployment, {}))
