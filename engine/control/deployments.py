"""Deployments: how many instances are wanted, and restarts of failing ones.

The node starts and drains the instances. Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.control import devices, memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.node import memory_estimate
from engine.node.memory_estimate import Footprint
from storage import deployments, models, processes
from storage.control_socket import verbs
from storage.deployments import MOST, Deployment, Status
from storage.intents import Intent
from storage.processes import State
from storage.store import Session

_LIVE: Final = (State.STARTING, State.READY, State.DRAINING)


@dataclass(frozen=True, slots=True)
class Memory:
    """Where instances are loaded to, as a phrase, and how many bytes are free there.

    `free_bytes` is None where the driver of the GPUs does not say.
    """

    place: str
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Observed:
    """What the decision about a scale rests on; None where it is not known.

    `running` counts the instances that have a process, `footprint` is what one takes at least.
    """

    deployment: Deployment
    running: int
    footprint: Footprint | None
    memory: Memory | None

    @property
    def fitting(self) -> int | None:
        """How many instances the memory has room for at most, those that run included."""
        if self.footprint is None or self.memory is None or self.memory.free_bytes is None:
            return None
        return self.footprint.fitting(self.running, self.memory.free_bytes, MOST)


@handles("deployments.scale")
async def scale(
    s: Session, intent: Intent, arguments: verbs.deployments.Scale, at_us: int
) -> Decision:
    """Set how many instances are wanted."""
    observed = await _observe(s, intent.target, at_us)
    decision = decide(observed, arguments.replicas)
    if decision.plan is not None and decision.reason is Reason.APPLIED:
        await deployments.scale(
            s,
            observed.deployment.name,
            arguments.replicas,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    return decision


@handles("deployments.restart")
async def restart(
    s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int
) -> Decision:
    """Let a failing deployment run again."""
    before = await deployments.resolve(s, intent.target)
    if before.status is not Status.FAILING:
        return Decision(Reason.UNCHANGED, f"{before.name} is not failing; no change.", before)
    after = await deployments.restart(
        s, before.name, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    return Decision(Reason.APPLIED, f"{after.name} is started again.", after)


def decide(observed: Observed, replicas: int) -> Decision:
    """Whether a deployment may have so many instances."""
    deployment = observed.deployment
    name = deployment.name
    if (reason := deployments.unscalable(deployment, replicas)) is not None:
        if replicas > MOST and observed.fitting not in {None, MOST}:
            reason = f"{reason.removesuffix('.')}; {_fits(observed)}."
        return Decision(Reason.INVALID, reason)
    if replicas == deployment.replicas:
        return Decision(Reason.UNCHANGED, f"{name} has {_count(replicas)} already.", deployment)
    if replicas > deployment.replicas and (refusal := _too_large(observed, replicas)) is not None:
        return refusal
    before = deployment.replicas
    return Decision(Reason.APPLIED, f"{name}: {_count(replicas)} (before: {before}).", replicas)


def _too_large(observed: Observed, replicas: int) -> Decision | None:
    each, there, more = observed.footprint, observed.memory, replicas - observed.running
    if each is None or there is None:
        return None
    needed = each.more_bytes(observed.running, more)
    if there.free_bytes is None:
        return memory.unknown(observed.deployment.name)
    if needed <= there.free_bytes:
        return None
    what = "weights and KV cache" if each.cache_bytes else "weights alone"
    return Decision(
        Reason.INVALID,
        f"{observed.deployment.name} cannot have {_count(replicas)}: {more} more need at least "
        f"{memory.size(needed)} for {what}, and {memory.size(there.free_bytes)} are free "
        f"{there.place}; {_fits(observed)}.",
    )


def _fits(observed: Observed) -> str:
    return f"at most {observed.fitting} fit"


async def _observe(s: Session, name: str, at_us: int) -> Observed:
    deployment = await deployments.resolve(s, name)
    files = [version for version in await models.every(s) if version.sha256 == deployment.weights]
    running = [
        process
        for process in await processes.every(s)
        if process.deployment == deployment.name and process.state in _LIVE
    ]
    engine = deployment.engine
    if engine is None or not files:  # what a supervised server loads is known to it alone
        return Observed(deployment, len(running), None, None)
    present = await devices.gpus(s, at_us)
    gpus = [
        device.free_bytes
        for device in present or []
        if engine.devices is None or device.index in engine.devices
    ]
    if gpus and engine.gpu_layers > 0:  # how the weights are divided is decided by the load
        return Observed(deployment, len(running), None, None)
    on_gpu = (present is None or bool(gpus)) and engine.gpu_layers != 0
    if on_gpu:
        there = Memory("on the GPUs", None if present is None else sum(gpus))
    else:
        there = Memory("in memory", (await devices.ram(s, at_us)).free_bytes)
    return Observed(
        deployment, len(running), memory_estimate.of(files[0], engine, on_gpu=on_gpu), there
    )


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
