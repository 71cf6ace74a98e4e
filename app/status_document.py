"""The document of `paddock status --json`: for scripts, with a version of its own.

Fields are only ever added; a change of what one means makes a new `schema`. Its JSON Schema is
docs/status.schema.json. Times are UTC microseconds since 1970, durations microseconds, sizes
bytes, shares 0 to 1, and null is what was not measured. Imported by `app.commands.status`.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any, Final

import msgspec

from app import snapshot
from storage import services

SCHEMA: Final = "paddock.status/1"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """The node, by its newest run; `state` is up, silent (it runs and does not answer) or down."""

    state: str
    version: str | None
    pid: int | None
    started_at_us: int | None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked; `role` is null while the control socket does not answer, or without a role."""

    name: str
    role: str | None


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


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One release of a service; figures are those of the window, as `storage.measures` has them.

    `share_between` is the 95 % interval of `share`. `departed`: it is in the split no more, and its
    requests are still in the window.
    """

    release: str
    model: str
    prompt: str
    weight: float
    share: float | None
    requests: int
    failed: int
    refused: int
    cancelled: int
    synthetic_share: float | None
    requests_per_s: float | None
    error_rate: float | None
    latency_p50_us: float | None
    latency_p95_us: float | None
    ttft_p95_us: float | None
    queue_time_p95_us: float | None
    tokens_per_s: float | None
    thumbs_up: int
    thumbs_down: int
    satisfaction: float | None
    cost_per_kilo_token_micro: int | None
    share_between: tuple[float, float] | None
    departed: bool


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service with the arms of its current split, and those that have left it since.

    `version` grows with each change. `owner` names the rollout or test that owns the split,
    `frozen` says who froze it and why; both are empty otherwise.
    """

    name: str
    version: int
    record_text: bool
    owner: str
    frozen: str
    requests: int
    synthetic_share: float | None
    arms: tuple[Arm, ...]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The span of the traffic figures; `until_us` is null when it ends now."""

    duration_us: int
    until_us: int | None
    synthetic_share: float | None
    ttft_p95_us: float | None
    currency: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. `problems` are sentences; empty means that nothing is known to be wrong.

    `machine` has the host and its GPUs, `load` is that of all instances together.
    """

    schema: str
    at_us: int
    measured_at_us: int | None
    host: str
    home: str
    gateway: str
    person: Person
    node: Node
    problems: tuple[str, ...]
    machine: snapshot.Machine
    load: Load | None
    processes: tuple[Process, ...]
    deployments: tuple[Deployment, ...]
    window: Window
    services: tuple[Service, ...]


def of(
    header: snapshot.Header,
    pulse: snapshot.Pulse,
    *,
    home: str,
    gateway: str,
    problems: tuple[str, ...],
) -> Status:
    """The document of what the screen's pulse shows."""
    run, window = pulse.run, pulse.window
    return Status(
        schema=SCHEMA,
        at_us=header.now_us,
        measured_at_us=header.as_of_us,
        host=header.host,
        home=home,
        gateway=gateway,
        person=Person(name=header.person.name, role=header.person.role or None),
        node=Node(
            state=header.node.value if header.node.runs else "down",
            version=None if run is None else run.version,
            pid=None if run is None else run.pid,
            started_at_us=None if run is None else run.started_at_us,
        ),
        problems=problems,
        machine=pulse.machine,
        load=_load(pulse.load),
        processes=tuple(
            Process(
                name=each.name,
                kind=each.kind,
                state=each.state,
                reason=each.reason,
                restarts=each.restarts,
                pid=each.pid,
                started_at_us=each.started_at_us,
                last_death=each.died,
            )
            for each in pulse.processes
        ),
        deployments=tuple(map(_deployment, pulse.deployments)),
        window=Window(
            duration_us=window.window_us,
            until_us=window.until_us,
            synthetic_share=window.synthetic,
            ttft_p95_us=pulse.ttft_p95_us,
            currency=window.currency,
        ),
        services=tuple(map(_service, pulse.services)),
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    schema = msgspec.json.schema(Status)
    for described in schema["$defs"].values():  # Python 3.13 strips the indentation of docstrings
        described["description"] = inspect.cleandoc(described["description"])
    return schema


def _load(load: snapshot.Load | None) -> Load | None:
    if load is None:
        return None
    return Load(
        running=load.running,
        max_running=load.max_running,
        waiting=load.waiting,
        oldest_waiting_us=load.oldest_us,
        kv_use=load.kv,
        tokens_per_s=load.tokens_per_s,
        busy_share=load.busy,
    )


def _deployment(seen: snapshot.Deployment) -> Deployment:
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
                load=_load(each.load),
                last_death=each.died,
            )
            for each in seen.instances
        ),
        load=_load(seen.load),
    )


def _service(seen: snapshot.Service) -> Service:
    return Service(
        name=seen.name,
        version=seen.version,
        record_text=seen.record_text,
        owner=seen.owner,
        frozen=seen.frozen,
        requests=seen.requests,
        synthetic_share=seen.synthetic,
        arms=tuple(
            Arm(
                release=f"r{arm.release}",
                model=arm.model,
                prompt=arm.prompt,
                weight=arm.weight_bp / services.WHOLE_BP,
                share=arm.actual,
                requests=arm.requests,
                failed=arm.failed,
                refused=arm.refused,
                cancelled=arm.cancelled,
                synthetic_share=arm.synthetic,
                requests_per_s=arm.per_s,
                error_rate=arm.errors,
                latency_p50_us=arm.p50_us,
                latency_p95_us=arm.p95_us,
                ttft_p95_us=arm.ttft_p95_us,
                queue_time_p95_us=arm.queue_p95_us,
                tokens_per_s=arm.tokens_per_s,
                thumbs_up=arm.up,
                thumbs_down=arm.down,
                satisfaction=arm.liked,
                cost_per_kilo_token_micro=arm.kilo_micro,
                share_between=arm.between,
                departed=arm.departed,
            )
            for arm in seen.arms
        ),
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
