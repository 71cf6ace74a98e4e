"""The instances of the deployments that splits name: started, replaced, scaled, drained.

Reads the store and compares it with the processes there are; starting and stopping is the
processes' own. Imported by `engine.node.node`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from engine.node import commands, file_check, placement, planning, supervision
from engine.node.file_watch import FileWatch
from engine.node.placement import Device
from engine.node.planning import Instance, Weights
from engine.node.specs import Fact, LoadFailure, Preparation, Spec
from engine.node.supervised import Prepare, SupervisedProcess
from engine.node.supervision import Death
from storage import deployments, errors, held_releases, models, processes, releases, services
from storage.deployments import Status
from storage.home.paths import Home
from storage.releases import Engine, Server
from storage.runtime import file_identity
from storage.runtime.file_identity import Identity
from storage.store import Session, Store

_DRIVER_S: Final = 10.0

_log = structlog.get_logger("node.instances")


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The plan of instances, the deployment of each instance with a row, and the failing ones."""

    plan: planning.Plan
    known: Mapping[str, str]
    failing: frozenset[str]


class Instances:
    """Follows the store. `begin` starts a process, `forget` removes the row of one that is gone."""

    def __init__(
        self,
        home: Home,
        store: Store,
        running: Mapping[str, SupervisedProcess],
        *,
        begin: Callable[[Spec, Prepare], None],
        forget: Callable[[str], None],
        devices: Callable[[], list[Device]],
        now_us: Callable[[], int],
    ) -> None:
        """`running` are all processes of the node; those that are no instances are left alone.

        `devices` asks the GPU driver and may block.
        """
        self._home = home
        self._store = store
        self._running = running
        self._begin = begin
        self._forget = forget
        self._devices = devices
        self._now_us = now_us
        self._unwanted_since: dict[str, int] = {}
        self._begun: dict[str, Instance] = {}
        self._shelved: set[str] = set()
        self._replacing: set[str] = set()
        self._placed: dict[str, tuple[tuple[int, ...], int]] = {}
        self._deaths: dict[str, list[Death]] = {}
        self._files = FileWatch(self._overwritten, self._missing)
        self._failing: dict[str, bool] = {}  # by deployment: whether the store has recorded it
        self.linger_us = commands.linger_us()

    @property
    def settling(self) -> bool:
        """Whether some instances are on their way out, so that `follow` is due again soon."""
        return bool(self._unwanted_since or self._replacing)

    async def follow(self) -> None:
        """Start and stop instances as the store says now."""
        snapshot = await self._look()
        plan = snapshot.plan
        self._settle_verdicts(snapshot.failing)
        for name, deployment in snapshot.known.items():
            if name not in plan.kept | self._running.keys() and deployment not in snapshot.failing:
                self._forget(name)
        self._begun = {name: self._begun[name] for name in self._begun.keys() & self._running}
        self._placed = {name: self._placed[name] for name in self._placed.keys() & self._running}
        self._replacing.clear()
        for instance in plan.wanted.values():
            if instance.deployment not in self._failing:
                self._want(instance, plan.wanted)
        self._shelved = {
            name
            for name, process in self._running.items()
            if process.given_up and name in plan.kept - plan.wanted.keys()
        }
        self._release(plan.kept)

    async def look_at_files(self) -> None:
        """Look whether a file that an instance has mapped was overwritten."""
        await self._files.look(self._running.keys())

    def _overwritten(self, name: str, reason: str) -> None:
        """Stop an instance: it would answer from an unregistered file."""
        _log.error("a model file was overwritten", instance=name, reason=reason)
        if (process := self._running.get(name)) is not None:
            process.give_up(reason)

    def _missing(self, name: str, path: str) -> None:
        """Note that an instance serves from memory and cannot be restarted."""
        if (process := self._running.get(name)) is not None:
            process.note_missing(path)

    def observe(self, fact: Fact) -> Fact:
        """Take a fact of an instance, and add the consequences of its death to it.

        A deployment that turns out to be failing has its instances stopped until that verdict is
        lifted. An adapter whose requests kill them is quarantined alone, and the base serves on.
        """
        if fact.death is None or fact.deployment is None:
            return fact
        process, deployment = self._running.get(fact.name), fact.deployment
        if process is None or deployment in self._failing:
            return fact
        patience, now = process.spec.plan, self._now_us()
        deaths = [*self._deaths.get(deployment, []), fact.death]
        self._deaths[deployment] = [
            death for death in deaths if now - death.at_us <= patience.deaths_us
        ]
        adapter = fact.death.adapter
        evidence = supervision.failing(self._deaths[deployment], patience, now, adapter)
        if evidence is None:
            return fact
        if adapter:
            _log.error("an adapter is quarantined", adapter=adapter, evidence=evidence)
            self._deaths[deployment] = [
                death for death in self._deaths[deployment] if death.adapter != adapter
            ]
            return dataclasses.replace(fact, load_failure=LoadFailure(adapter, evidence))
        _log.error("a deployment is failing", deployment=deployment, evidence=evidence)
        self._failing[deployment] = False
        for each in self._running.values():
            if each.spec.deployment == deployment:
                each.stop()
        return dataclasses.replace(fact, reason=evidence, failing=evidence)

    def _settle_verdicts(self, recorded: frozenset[str]) -> None:
        """Drop the verdicts that were recorded in the store and then lifted by a restart."""
        for deployment, was_recorded in list(self._failing.items()):
            if deployment in recorded:
                self._failing[deployment] = True
            elif was_recorded:
                del self._failing[deployment]
                self._deaths.pop(deployment, None)

    def _want(self, instance: Instance, wanted: Mapping[str, Instance]) -> None:
        """Start an instance, or replace one that was started from another file or command."""
        process = self._running.get(instance.name)
        if process is None:
            self._begun[instance.name] = instance
            self._begin(self._spec(instance), functools.partial(self._prepare, instance))
        elif process.stopping:
            self._replacing.add(instance.name)
        elif instance.replaces(self._begun[instance.name]):
            self._replacing.add(instance.name)
            if not process.running or self._others_serve(instance, wanted):
                process.stop()
        elif process.given_up and instance.name in self._shelved:  # its file was added again
            process.retry()

    def _spec(self, instance: Instance) -> Spec:
        match instance.settings:
            case Engine() as engine:
                return commands.worker(self._home, instance, engine)
            case Server():
                return commands.server(self._home, instance)

    def _others_serve(self, instance: Instance, wanted: Mapping[str, Instance]) -> bool:
        """Whether all other instances of the deployment are ready: they are replaced in turn."""
        return all(
            (process := self._running.get(other.name)) is not None
            and not process.stopping
            and process.fact.state == "ready"
            and process.fact.silent_us is None
            for other in wanted.values()
            if other.deployment == instance.deployment and other.name != instance.name
        )

    def _release(self, kept: frozenset[str]) -> None:
        """Stop unwanted instances once they are idle.

        Until then they serve: requests under way complete, and a rollback takes effect at once. The
        gateway may not have read the store yet, so even the idle ones wait for a while.
        """
        now = self._now_us()
        instances = {name for name, process in self._running.items() if process.spec.deployment}
        self._unwanted_since = {
            name: self._unwanted_since.get(name, now) for name in instances - kept
        }
        for name, since in self._unwanted_since.items():
            process = self._running[name]
            idle = not process.working and now - since >= self.linger_us
            if idle or process.fact.state == "crashed":
                process.stop()

    async def _prepare(self, instance: Instance) -> Preparation:
        """Verify the files of an instance and choose its devices."""
        weights = instance.weights
        verified: tuple[Identity, ...] = ()
        if weights is not None:
            checked = await file_check.check(weights)
            if checked.refusal is not None:
                return Preparation(refusal=checked.refusal, permanent=True)
            verified = checked.verified
            await self._remember(weights, verified)
            await self._files.opened(instance.name, weights)
        try:
            async with asyncio.timeout(_DRIVER_S):
                devices = await self._place(instance)
        except TimeoutError:
            return Preparation(refusal=f"the GPU driver did not answer within {_DRIVER_S:g} s")
        except placement.NotThere as error:
            return Preparation(refusal=str(error))
        environment = placement.environment(devices)
        if isinstance(server := instance.settings, Server):
            if "devices" in server.placeholders():  # its command selects them by number
                environment = {}
            environment |= commands.server_orders(self._home, instance, server, devices)
        else:
            environment |= file_identity.environment(verified)
        return Preparation(environment)

    async def _remember(self, weights: Weights, verified: Sequence[Identity]) -> None:
        """Record by what verified files are recognised, so that their next load reads none."""
        if not verified or [*verified] == [each.identity for each in weights.files]:
            return

        async def work(session: Session) -> None:
            await models.note_verified(session, weights.model, verified)

        with contextlib.suppress(errors.StorageError):  # it is verified again the next time
            await self._store.write(work)

    async def _place(self, instance: Instance) -> tuple[int, ...]:
        """The devices of an instance; empty where nothing restricts it to some.

        Raises:
            placement.NotThere: a device that its settings name does not exist.
        """
        settings = instance.settings
        if settings.devices is None and not _uses_devices(settings):
            return ()
        devices = await asyncio.to_thread(self._devices)
        visible = placement.visible(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if visible is None and settings.devices is None:
            return ()
        size = 0 if instance.weights is None else instance.weights.size_bytes
        chosen = placement.place(
            settings.devices,
            devices=devices if visible is None else visible,
            size_bytes=size,
            split=not isinstance(settings, Engine) or settings.split != "none",
            reserved=self._reserved(),
        )
        self._placed[instance.name] = (chosen, size)
        return chosen

    def _reserved(self) -> dict[int, int]:
        """The memory that instances still loading will take, by device."""
        reserved: dict[int, int] = {}
        for name, (devices, size) in self._placed.items():
            process = self._running.get(name)
            if process is not None and process.fact.state == "starting":
                for index in devices:
                    reserved[index] = reserved.get(index, 0) + size // len(devices)
        return reserved

    async def _look(self) -> _Snapshot:
        async with self._store.read() as session:
            numbers = await services.named_releases(session)
            numbers |= await held_releases.every(session)
            found = await releases.every(session, numbers=numbers)
            deployed = {each.name: each for each in await deployments.every(session)}
            versions = await models.every(session)
            rows = await processes.every(session)
        return _Snapshot(
            planning.plan(found, deployed, versions),
            {row.name: row.deployment for row in rows if row.deployment is not None},
            frozenset(each.name for each in deployed.values() if each.status is Status.FAILING),
        )


def _uses_devices(settings: Engine | Server) -> bool:
    """Whether devices are to be chosen for settings that name none."""
    match settings:
        case Engine():
            return settings.gpu_layers != 0
        case Server():
            return "devices" in settings.placeholders()
