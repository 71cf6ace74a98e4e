"""Deployments and their instances now: what runs, what should run, and how hard it works."""

from __future__ import annotations

from typing import Final

from app import snapshot
from app.figures import load
from app.figures.facts import Facts
from storage import processes, samples, upstream_health
from storage.deployments import Backend, Deployment, Status

# From bad to good: a deployment has the state of its worst instance.
_WORST: Final = ("crashed", "silent", "stopped", "draining", "starting", "ready")


def shown(facts: Facts) -> tuple[snapshot.Deployment, ...]:
    """The deployments that have processes, and those that a split needs; by name."""
    instances: dict[str, list[snapshot.Instance]] = {}
    loads = load.loads(facts)
    for each in facts.processes:
        if each.kind.is_instance:
            name = samples.deployment(each.name)
            instances.setdefault(name, []).append(_instance(facts, each, loads.get(each.name)))
    names = instances.keys() | _needed(facts)
    whole = load.by_deployment(facts)
    return tuple(
        _deployment(facts, name, tuple(instances.get(name, ())), whole.get(name))
        for name in sorted(names)
    )


def _needed(facts: Facts) -> set[str]:
    """The upstreams, and whatever the node has given up on, that a split sends traffic to."""
    live = {
        facts.placed.get(arm.release, "")
        for service in facts.services
        for arm in service.split.arms
        if arm.weight_bp
    }
    return {
        each.name
        for each in facts.deployments
        if each.name in live and (each.backend is Backend.UPSTREAM or each.status is Status.FAILING)
    }


def state(facts: Facts, process: processes.Process) -> str:
    """The state of a process; silent while it is ready and gives no sign of life."""
    if not facts.node.runs:
        return "not running"
    silent = process.silent_since_us is not None and process.state is processes.State.READY
    return "silent" if silent else process.state.value


def _instance(
    facts: Facts, process: processes.Process, load_: snapshot.Load | None
) -> snapshot.Instance:
    return snapshot.Instance(
        name=process.name,
        state=state(facts, process),
        reason=process.reason or "",
        restarts=process.restarts,
        pid=process.pid,
        started_at_us=process.started_at_us,
        load=load_,
        died=facts.deaths.get(process.name, ""),
    )


def _deployment(
    facts: Facts,
    name: str,
    instances: tuple[snapshot.Instance, ...],
    load_: snapshot.Load | None,
) -> snapshot.Deployment:
    known = next((each for each in facts.deployments if each.name == name), None)
    ready = sum(each.state == "ready" for each in instances)
    state, reason = _state(facts, known, instances, heard=load_ is not None)
    return snapshot.Deployment(
        name=name,
        backend=Backend.LOCAL.value if known is None else known.backend.value,
        state=state,
        reason=reason,
        ready=ready,
        replicas=len(instances) if known is None else known.replicas,
        instances=instances,
        load=load_,
    )


def _state(
    facts: Facts,
    known: Deployment | None,
    instances: tuple[snapshot.Instance, ...],
    *,
    heard: bool,
) -> tuple[str, str]:
    """The state of the whole, and why it is not well."""
    if not facts.node.runs:
        return "not running", ""
    if known is not None and known.status is Status.FAILING:
        return "failing", known.status_reason or ""
    if known is not None and known.backend is Backend.UPSTREAM:
        return _upstream(facts.upstreams.get(known.upstream or ""), heard=heard)
    for state in _WORST:
        worst = next((each for each in instances if each.state == state), None)
        if worst is not None:
            return state, worst.reason
    return "starting", ""


def _upstream(health: upstream_health.Health | None, *, heard: bool) -> tuple[str, str]:
    """As the gateway's health checks found it; before the first one its samples count."""
    if health is None:
        return ("answering", "") if heard else ("starting", "")
    if health.reason is None:
        return "answering", ""
    return "down", health.reason
