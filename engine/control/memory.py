"""Whether the deployments of a split fit into free memory, and if not, which settings would.

Asked before anything is loaded, by everything that puts a release into a split. Imported by
`engine.control`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from engine.control import memory_demand
from engine.control.decisions import Decision, Reason
from engine.control.memory_demand import Demand, Observed
from engine.node import memory_estimate
from storage.splits import Arm
from storage.store import Session

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


async def refuse(s: Session, arms: Iterable[Arm], at_us: int) -> Decision | None:
    """The refusal of arms whose deployments do not fit, or may not; None where they do."""
    observed = await memory_demand.observe(s, [arm.release for arm in arms], at_us)
    return None if observed is None else decide(observed)


async def words(s: Session, release: int, at_us: int) -> str:
    """What loading a release would take and whether it fits, as a sentence."""
    observed = await memory_demand.observe(s, [release], at_us)
    if observed is None:
        said = "it is loaded, on an upstream, or divided between the GPUs by its own setting"
        return f"r{release} has no estimate: {said}."
    refusal = decide(observed)
    if refusal is not None:
        return refusal.sentence
    needed = sum(demand.needed_bytes for demand in observed.wanted)
    free = size(observed.free_bytes or 0)
    return f"r{release} needs {size(needed)} {observed.place}, and {free} are free: it fits."


def decide(observed: Observed) -> Decision | None:
    """The refusal with the numbers and the plans that would fit; None if all fits."""
    needed = sum(demand.needed_bytes for demand in observed.wanted)
    if observed.free_bytes is None:
        names = ", ".join(demand.name for demand in observed.wanted)
        return unknown(names)
    if needed <= observed.free_bytes:
        return None
    worst = max(observed.wanted, key=lambda demand: demand.needed_bytes)
    room = observed.free_bytes - (needed - worst.needed_bytes)
    plans = list(_plans(worst, observed.running, room))
    advice = f"It would fit {' or '.join(plans)}." if plans else "No smaller setting would fit."
    return Decision(Reason.TOO_LARGE, f"{_misfit(worst, observed.place, room)}. {advice}")


def _misfit(demand: Demand, place: str, room: int) -> str:
    """The numbers of a deployment that does not fit, or of its new adapters."""
    if demand.loaded is None:
        footprint = demand.footprint
        what = f"{demand.name} does not fit: it needs"
        parts = f"weights {size(footprint.weights_bytes)}, KV cache {size(footprint.cache_bytes)}"
    else:
        footprint, more = demand.joining, demand.adapters - demand.loaded
        joining = f"{more} more adapter{'' if more == 1 else 's'} of {demand.name}"
        what = f"{joining} do{'es' if more == 1 else ''} not fit: that needs"
        parts = f"KV cache {size(footprint.cache_bytes)}"
    if footprint.other_bytes:
        parts += f", the rest {size(footprint.other_bytes)}"
    needed, free = size(demand.needed_bytes), size(max(room, 0))
    return f"{what} {needed} {place} ({parts}), and {free} are free"


def unknown(names: str) -> Decision:
    """The refusal of deployments while the free memory of the GPUs is unknown."""
    said = f"Whether {names} fits is not known: the driver of the GPUs does not answer"
    return Decision(Reason.TOO_LARGE, f"{said}. Try again, or ask `paddock doctor`.")


def _plans(demand: Demand, running: Sequence[Demand], room: int) -> Iterable[str]:
    if demand.loaded is None:
        yield from _smaller(demand, room)
    missing = demand.needed_bytes - room
    others = [other for other in running if other.name != demand.name]
    enough = [other for other in others if other.needed_bytes >= missing]
    if enough:
        other = min(enough, key=lambda each: (each.needed_bytes, each.name))
        yield (
            f"once {other.name} ({size(other.needed_bytes)}) is drained: take its releases out of "
            "every split first"
        )


def _smaller(demand: Demand, room: int) -> Iterable[str]:
    for engine in memory_estimate.smaller(
        demand.weights, demand.engine, room, on_gpu=demand.on_gpu, adapters=demand.adapters
    ):
        if engine.max_sequences != demand.engine.max_sequences:
            yield f"in a release with --max-sequences {engine.max_sequences}"
        elif engine.kv_cache_type != demand.engine.kv_cache_type:
            yield f"in a release with --kv-cache-type {engine.kv_cache_type}"
        else:
            yield f"in a release with --context-tokens {engine.context_tokens}"


def size(count: float) -> str:
    """A number of bytes with its unit."""
    for unit in _UNITS[:-1]:
        if count < 1000:  # noqa: PLR2004 units of a thousand
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"
