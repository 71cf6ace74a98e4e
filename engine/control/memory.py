"""Whether the deployments of a split fit into free memory, and if not, which settings would.

Checked against `devices` before anything is loaded, by everything that puts a release into a split.
Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.control import devices
from engine.control.decisions import Decision, Reason
from engine.node import memory_estimate
from engine.node.memory_estimate import Footprint
from storage import deployments, models, processes, releases, services
from storage.deployments import Deployment
from storage.models import ModelVersion
from storage.processes import State
from storage.releases import Engine
from storage.splits import Arm
from storage.store import Session

MARGIN: Final = 0.02
"""The part of the host's memory that a load leaves free."""

_LIVE: Final = (State.STARTING, State.READY, State.DRAINING)
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Load:
    """A deployment that would be loaded, or is; what its instances take together.

    `loaded` are the adapters that a running deployment has; None where all of it is to be loaded.
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
        """What one instance takes."""
        return memory_estimate.of(
            self.weights, self.engine, on_gpu=self.on_gpu, adapters=self.adapters
        )

    @property
    def needed_bytes(self) -> int:
        """What all instances take, or take more with the adapters that join them."""
        if self.loaded is None:
            return self.footprint.more_bytes(0, self.replicas)
        return self.replicas * self.joining.own_bytes

    @property
    def joining(self) -> Footprint:
        """What the adapters that join a running instance take in it."""
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
    """What the decision rests on: what would be loaded, what runs, and what is free, and where.

    `free_bytes` is None where the driver of the GPUs does not say.
    """

    wanted: tuple[Load, ...]
    running: tuple[Load, ...]
    free_bytes: int | None
    place: str


async def refuse(s: Session, arms: Iterable[Arm], at_us: int) -> Decision | None:
    """The refusal of arms whose deployments do not fit, or may not; None where they do."""
    observed = await observe(s, [arm.release for arm in arms], at_us)
    return None if observed is None else decide(observed)


async def words(s: Session, release: int, at_us: int) -> str:
    """What loading a release would take and whether it fits, as a sentence."""
    observed = await observe(s, [release], at_us)
    if observed is None:
        said = "it is loaded, on an upstream, or divided between the GPUs by its own setting"
        return f"r{release} has no estimate: {said}."
    refusal = decide(observed)
    if refusal is not None:
        return refusal.sentence
    needed = sum(load.needed_bytes for load in observed.wanted)
    free = size(observed.free_bytes or 0)
    return f"r{release} needs {size(needed)} {observed.place}, and {free} are free: it fits."


def decide(observed: Observed) -> Decision | None:
    """The refusal with the numbers and the plans that would fit; None if all fits."""
    needed = sum(load.needed_bytes for load in observed.wanted)
    if observed.free_bytes is None:
        names = ", ".join(load.name for load in observed.wanted)
        return unknown(names)
    if needed <= observed.free_bytes:
        return None
    worst = max(observed.wanted, key=lambda load: load.needed_bytes)
    each = worst.footprint if worst.loaded is None else worst.joining
    others = needed - worst.needed_bytes
    room = observed.free_bytes - others
    parts = f"KV cache {size(each.cache_bytes)}"
    parts = parts if worst.loaded is not None else f"weights {size(each.weights_bytes)}, {parts}"
    parts += f", the rest {size(each.other_bytes)}" if each.other_bytes else ""
    more = worst.adapters - (worst.loaded or 0)
    joining = f"{more} more adapter{'' if more == 1 else 's'} of {worst.name}"
    what = (
        f"{worst.name} does not fit: it needs"
        if worst.loaded is None
        else (f"{joining} do{'es' if more == 1 else ''} not fit: that needs")
    )
    said = (
        f"{what} {size(worst.needed_bytes)} {observed.place} "
        f"({parts}), and {size(max(room, 0))} are free"
    )
    plans = list(_plans(worst, observed.running, room))
    advice = f"It would fit {' or '.join(plans)}." if plans else "No smaller setting would fit."
    return Decision(Reason.TOO_LARGE, f"{said}. {advice}")


def unknown(names: str) -> Decision:
    """The refusal of what may not fit."""
    said = f"Whether {names} fits is not known: the driver of the GPUs does not answer"
    return Decision(Reason.TOO_LARGE, f"{said}. Try again, or ask `paddock doctor`.")


def _plans(load: Load, running: Sequence[Load], room: int) -> Iterable[str]:
    if load.loaded is None:
        yield from _smaller(load, room)
    missing = load.needed_bytes - room
    others = [other for other in running if other.name != load.name]
    enough = [other for other in others if other.needed_bytes >= missing]
    if enough:
        other = min(enough, key=lambda each: (each.needed_bytes, each.name))
        yield (
            f"once {other.name} ({size(other.needed_bytes)}) is drained: take its releases out of "
            "every split first"
        )


def _smaller(load: Load, room: int) -> Iterable[str]:
    for engine in memory_estimate.smaller(
        load.weights, load.engine, room, on_gpu=load.on_gpu, adapters=load.adapters
    ):
        if engine.max_sequences != load.engine.max_sequences:
            yield f"in a release with --max-sequences {engine.max_sequences}"
        elif engine.kv_cache_type != load.engine.kv_cache_type:
            yield f"in a release with --kv-cache-type {engine.kv_cache_type}"
        else:
            yield f"in a release with --context-tokens {engine.context_tokens}"


async def observe(s: Session, numbers: Sequence[int], at_us: int) -> Observed | None:
    """What splits that name these releases would load; None where that is nothing, or unknown."""
    present = await devices.gpus(s, at_us)
    gpus = present or []
    versions = {each.id: each for each in await models.every(s)}
    live: dict[str, set[State]] = {}
    for process in await processes.every(s):
        if process.deployment is not None and process.state in _LIVE:
            live.setdefault(process.deployment, set()).add(process.state)
    joining = {
        (each.deployment, each.model_version_id or 0)
        for each in await releases.every(s, numbers=set(numbers))
    }
    asked = {name for name, _ in joining}
    known = {each.name: each for each in await deployments.every(s, asked | live.keys())}
    resident = await releases.files(s, await services.named_releases(s))

    def load(deployment: Deployment, *, asked_for: bool) -> Load | None:
        before = [versions[id] for name, id in resident if name == deployment.name]
        after = [
            versions[id]
            for name, id in (resident | joining if asked_for else resident)
            if name == deployment.name and id in versions
        ]
        if deployment.engine is None or not after:
            return None
        weights = min((_weights(each, versions) for each in after), key=lambda each: each.id)
        adapters, loaded = _adapters(after), _adapters(before)
        if asked_for and deployment.name in live and adapters == loaded:
            return None
        return Load(
            deployment.name,
            weights,
            deployment.engine,
            deployment.replicas,
            len(adapters),
            (present is None or bool(gpus)) and deployment.engine.gpu_layers != 0,
            loaded=len(loaded) if asked_for and deployment.name in live else None,
        )

    wanted = [load(known[name], asked_for=True) for name in sorted(asked)]
    running = [load(known[name], asked_for=False) for name in sorted(live.keys() & known.keys())]
    starting = [each for each in running if each is not None and State.READY not in live[each.name]]
    on_gpu = any(each is not None and each.on_gpu for each in wanted)
    if on_gpu and any(each is not None and each.engine.gpu_layers > 0 for each in wanted):
        return None  # how the weights are divided is decided by the load
    if on_gpu:
        free = None if present is None else sum(device.free_bytes for device in gpus)
        place = "on the GPUs"
    else:
        ram = await devices.ram(s, at_us)
        free, place = ram.free_bytes - int(ram.total_bytes * MARGIN), "in memory"
    if free is not None:
        free -= sum(each.needed_bytes for each in starting if each.on_gpu == on_gpu)
    found = tuple(each for each in wanted if each is not None and each.on_gpu == on_gpu)
    others = tuple(each for each in running if each is not None and each.on_gpu == on_gpu)
    return Observed(found, others, free, place) if found else None


def size(count: float) -> str:
    """A number of bytes with its unit."""
    for unit in _UNITS[:-1]:
        if count < 1000:  # noqa: PLR2004 units of a thousand
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"


def _adapters(versions: Iterable[ModelVersion]) -> set[int]:
    return {each.id for each in versions if each.base_id is not None}


def _weights(version: ModelVersion, versions: dict[int, ModelVersion]) -> ModelVersion:
    return version if version.base_id is None else versions.get(version.base_id, version)
