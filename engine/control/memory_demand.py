"""What a split would load: the deployments, the memory they take, and the memory that is free.

Reads the store and writes nothing. Whether it fits is decided by `engine.control.memory`, which
imports this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from engine.control import devices
from engine.node import memory_estimate
from engine.node.memory_estimate import Footprint
from storage import deployments, models, processes, releases, services
from storage.deployments import Deployment
from storage.models import ModelVersion
from storage.processes import State
from storage.releases import Engine
from storage.store import Session

MARGIN: Final = 0.02
"""The part of the host's memory that a load leaves free."""

_LIVE: Final = (State.STARTING, State.READY, State.DRAINING)

_Resident = AbstractSet[tuple[str, int]]
"""Deployments with the versions that they have in memory, weights and adapters."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A deployment that would be loaded or runs, and the memory that its instances take.

    `loaded` is the number of adapters that it runs with; None if all of it would be loaded.
    """

    name: str
    weights: ModelVersion
    engine: Engine
    replicas: int
    adapters: int
    on_gpu: bool
    loaded: int | None = None

    @property
    def footprint(self) -> Footprint:
        """The memory of one instance."""
        return memory_estimate.of(
            self.weights, self.engine, on_gpu=self.on_gpu, adapters=self.adapters
        )

    @property
    def needed_bytes(self) -> int:
        """The memory of all instances; of a running deployment only what new adapters add."""
        if self.loaded is None:
            return self.footprint.more_bytes(0, self.replicas)
        return self.replicas * self.joining.own_bytes

    @property
    def joining(self) -> Footprint:
        """The memory that new adapters take in a running instance."""
        now = memory_estimate.of(
            self.weights, self.engine, on_gpu=self.on_gpu, adapters=self.loaded or 0
        )
        return Footprint(
            0,
            self.footprint.cache_bytes - now.cache_bytes,
            other_bytes=self.footprint.other_bytes - now.other_bytes,
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """The deployments that would be loaded, those that run, and the memory that is free.

    `free_bytes` is None if the driver of the GPUs does not answer; `place` says where it is free.
    """

    wanted: tuple[Demand, ...]
    running: tuple[Demand, ...]
    free_bytes: int | None
    place: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """The store's view: versions by id, states of running processes by deployment, residents."""

    versions: Mapping[int, ModelVersion]
    live: Mapping[str, AbstractSet[State]]
    resident: _Resident
    joining: _Resident
    gpus: bool

    def demand(self, deployment: Deployment, *, joined: bool) -> Demand | None:
        """The demand of a deployment, with what joins it if `joined`; None if it takes no more."""
        before = self._of(deployment, self.resident)
        after = self._of(deployment, self.resident | self.joining) if joined else before
        if deployment.engine is None or not after:
            return None
        weights = min((_weights(each, self.versions) for each in after), key=lambda each: each.id)
        adapters, loaded = _adapters(after), _adapters(before)
        runs = deployment.name in self.live
        if joined and runs and adapters == loaded:
            return None
        return Demand(
            deployment.name,
            weights,
            deployment.engine,
            deployment.replicas,
            len(adapters),
            self.gpus and deployment.engine.gpu_layers != 0,
            loaded=len(loaded) if joined and runs else None,
        )

    def _of(self, deployment: Deployment, resident: _Resident) -> list[ModelVersion]:
        return [
            self.versions[id]
            for name, id in resident
            if name == deployment.name and id in self.versions
        ]


async def observe(s: Session, numbers: Sequence[int], at_us: int) -> Observed | None:
    """What splits that name these releases would load; None if that is nothing, or unknown."""
    present = await devices.gpus(s, at_us)
    seen = await _read(s, numbers, gpus=present is None or bool(present))
    asked = {name for name, _ in seen.joining}
    known = {each.name: each for each in await deployments.every(s, asked | seen.live.keys())}
    wanted = _some(seen.demand(known[name], joined=True) for name in sorted(asked))
    running = _some(
        seen.demand(known[name], joined=False) for name in sorted(seen.live.keys() & known.keys())
    )
    on_gpu = any(each.on_gpu for each in wanted)
    if on_gpu and any(each.engine.gpu_layers > 0 for each in wanted):
        return None  # how the weights are divided is decided by the load
    if on_gpu:
        free = None if present is None else sum(device.free_bytes for device in present)
        place = "on the GPUs"
    else:
        ram = await devices.ram(s, at_us)
        free, place = ram.free_bytes - int(ram.total_bytes * MARGIN), "in memory"
    found = tuple(each for each in wanted if each.on_gpu == on_gpu)
    others = tuple(each for each in running if each.on_gpu == on_gpu)
    if free is not None:
        starting = (each for each in others if State.READY not in seen.live[each.name])
        free -= sum(each.needed_bytes for each in starting)
    return Observed(found, others, free, place) if found else None


async def _read(s: Session, numbers: Sequence[int], *, gpus: bool) -> _Seen:
    live: dict[str, set[State]] = {}
    for process in await processes.every(s):
        if process.deployment is not None and process.state in _LIVE:
            live.setdefault(process.deployment, set()).add(process.state)
    named = await releases.every(s, numbers={*numbers})
    return _Seen(
        versions={each.id: each for each in await models.every(s)},
        live=live,
        resident=await releases.files(s, await services.named_releases(s)),
        joining={(each.deployment, each.model_version_id or 0) for each in named},
        gpus=gpus,
    )


def _some(demands: Iterable[Demand | None]) -> list[Demand]:
    return [each for each in demands if each is not None]


def _adapters(versions: Iterable[ModelVersion]) -> set[int]:
    return {each.id for each in versions if each.base_id is not None}


def _weights(version: ModelVersion, versions: Mapping[int, ModelVersion]) -> ModelVersion:
    return version if version.base_id is None else versions.get(version.base_id, version)
