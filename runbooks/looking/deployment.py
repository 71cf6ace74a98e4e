"""Probes of a deployment, by its name: its knobs, its instances, what they do.

Imported by `runbooks.probes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from runbooks.looking.probe import Probe, rounded
from runbooks.values import Value
from storage import deployments, instance_work, knobs, machine, processes, upstream_health
from storage.deployments import Backend, Deployment
from storage.instance_work import Work
from storage.measures import Window
from storage.processes import Process, State
from storage.store import Session


def _knob(name: str) -> Probe:
    async def probe(s: Session, of: str, _window_s: int, _second: int) -> Value:
        engine = (await deployments.find(s, of)).engine
        if engine is None:
            return None
        return (await knobs.of(s, of)).get(name, knobs.defaults(engine)[name])

    probe.__doc__ = f"The knob {name} as it is set; None where there are no knobs."
    return probe


def _work(figure: Callable[[Sequence[Work]], float | None], sentence: str) -> Probe:
    async def probe(s: Session, of: str, window_s: int, second: int) -> Value:
        name = (await deployments.find(s, of)).name
        window = Window.last(window_s, second)
        found = list((await instance_work.by_instance(s, window, deployment=name)).values())
        return rounded(figure(found)) if found else None

    probe.__doc__ = sentence
    return probe


def _instances(
    figure: Callable[[Sequence[Process]], int], sentence: str, *, answering: bool | None = None
) -> Probe:
    """An upstream counts as one while it answers, or while it does not, as `answering` says."""

    async def probe(s: Session, of: str, _window_s: int, _second: int) -> Value:
        found = await deployments.find(s, of)
        if answering is not None and found.backend is Backend.UPSTREAM:
            known = await _answers(s, found)
            return None if known is None else int(known is answering)
        every = await processes.every(s)
        return figure([each for each in every if each.deployment == found.name])

    probe.__doc__ = sentence
    return probe


async def _answers(s: Session, upstream: Deployment) -> bool | None:
    """Whether an upstream answers, as the gateway found it last; None before it has asked."""
    health = (await upstream_health.every(s)).get(upstream.upstream or "")
    return None if health is None else health.reason is None


def _occupancy(works: Sequence[Work]) -> float | None:
    known = [(w.last.running, w.last.max_running) for w in works if w.last.max_running]
    most = sum(most or 0 for _, most in known)
    return sum(running for running, _ in known) / most if most else None


def _oldest_ms(works: Sequence[Work]) -> float | None:
    return max((w.last.oldest_waiting_us or 0 for w in works), default=0) / 1_000


async def utilisation(s: Session, of: str, window_s: int, second: int) -> Value:
    """Mean GPU utilisation; where no GPU is measured, the share of time that instances compute."""
    window = Window.last(window_s, second)
    on_gpu = machine.gpu_utilisation(await machine.gpus(s, window))
    if on_gpu is not None:
        return rounded(on_gpu)
    return await PROBES["busy_share"](s, of, window_s, second)


async def room(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """How many sequences an instance was loaded with room for; 0 where an upstream decides."""
    return (await deployments.find(s, of)).max_sequences or 0


async def replicas(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """How many instances are wanted."""
    return (await deployments.find(s, of)).replicas


async def backend(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """What computes: local, server or upstream; the instances of an upstream are not the node's."""
    return (await deployments.find(s, of)).backend.value


async def status(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """active, or failing: its instances died again and again."""
    return (await deployments.find(s, of)).status.value


async def why(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """Why it is failing, or how its instance that restarted most died; None without a reason."""
    found = await deployments.find(s, of)
    if found.status_reason is not None:
        return found.status_reason
    each = [process for process in await processes.every(s) if process.deployment == found.name]
    worst = max(each, key=lambda process: process.restarts, default=None)
    if worst is None or not worst.restarts:
        return None
    return await processes.last_death(s, worst.name) or worst.reason


PROBES: Final[Mapping[str, Probe]] = {
    **{f"knob_{name}": _knob(name) for name in knobs.NAMES},
    "utilisation": utilisation,
    "max_running_room": room,
    "replicas": replicas,
    "backend": backend,
    "deployment_status": status,
    "deployment_reason": why,
    "running": _work(lambda w: sum(x.last.running for x in w), "Requests that run now."),
    "waiting": _work(lambda w: sum(x.last.waiting for x in w), "Requests that wait now."),
    "queue_oldest_ms": _work(_oldest_ms, "How long the oldest waiting request has waited."),
    "batch_occupancy": _work(_occupancy, "Running requests / max_running, 0 to 1."),
    "kv_use": _work(
        lambda w: instance_work.kv_use([x.last for x in w]), "KV cache in use, 0 to 1."
    ),
    "busy_share": _work(instance_work.busy_share, "Share of time that instances compute."),
    "instances_ready": _instances(
        lambda found: sum(each.state is State.READY for each in found),
        "Instances that are ready; an upstream counts as one while it answers.",
        answering=True,
    ),
    "instances_silent": _instances(
        lambda found: sum(each.silent_since_us is not None for each in found),
        "Instances that run and give no sign of life; an upstream counts as one if it is silent.",
        answering=False,
    ),
    "instance_restarts": _instances(
        lambda found: max((each.restarts for each in found), default=0),
        "Restarts of the instance that was restarted most.",
    ),
}
