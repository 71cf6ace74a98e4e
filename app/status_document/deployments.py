"""The processes of the node and its deployments, as the status document has them.

Imported by `app.status_document`.
"""

from __future__ import annotations

import msgspec

from app import snapshot


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance, or a deployment as a whole, does now."""

    running: int
    max_running: int | None
    waiting: int
    oldest_waiting_us: int | None
    kv_use: float | None
    tokens_per_s: float | None
    busy_share: float | None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the node; `restarts` since the node started it first.

    `last_death` says how it ended before the last of them.
    """

    name: str
    kind: str
    state: str
    reason: str
    restarts: int
    pid: int | None
    started_at_us: int
    last_death: str


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of a deployment; `load` is null without current samples.

    `last_death` says how it ended before its last restart.
    """

    name: str
    state: str
    reason: str
    restarts: int
    pid: int | None
    started_at_us: int
    load: Load | None
    last_death: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What is loaded for releases; `backend` is local, server or upstream.

    `state` is that of its worst instance, failing once the node has given it up, and answering or
    down for an upstream, which has no instances here.
    """

    name: str
    backend: str
    state: str
    reason: str
    ready: int
    replicas: int
    instances: tuple[Instance, ...]
    load: Load | None


def load(seen: snapshot.Load | None) -> Load | None:
    """What it does now; None without current samples."""
    if seen is None:
        return None
    return Load(
        running=seen.running,
        max_running=seen.max_running,
        waiting=seen.waiting,
        oldest_waiting_us=seen.oldest_us,
        kv_use=seen.kv,
        tokens_per_s=seen.tokens_per_s,
        busy_share=seen.busy,
    )


def process(seen: snapshot.Process) -> Process:
    """One process."""
    return Process(
        name=seen.name,
        kind=seen.kind,
        state=seen.state,
        reason=seen.reason,
        restarts=seen.restarts,
        pid=seen.pid,
        started_at_us=seen.started_at_us,
        last_death=seen.died,
    )


def deployment(seen: snapshot.Deployment) -> Deployment:
    """One deployment with its instances."""
    return Deployment(
        name=seen.name,
        backend=seen.backend,
        state=seen.state,
        reason=seen.reason,
        ready=seen.ready,
        replicas=seen.replicas,
        instances=tuple(
            Instance(
                name=each.name,
                state=each.state,
                reason=each.reason,
                restarts=each.restarts,
                pid=each.pid,
                started_at_us=each.started_at_us,
                load=load(each.load),
                last_death=each.died,
            )
            for each in seen.instances
        ),
        load=load(seen.load),
    )
