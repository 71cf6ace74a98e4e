"""The command lines and timeouts of the processes that the node supervises.

The timeouts can be changed by environment, for tests and slow machines: `PADDOCK_BEAT_S`,
`PADDOCK_TOKEN_S`, `PADDOCK_DRAIN_S`, `PADDOCK_LINGER_S`, `PADDOCK_SILENT_S`, seconds as decimals.
Imported by `engine.node`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from engine.node import server_process, supervision
from engine.node.server_process import Orders
from engine.node.specs import Spec
from engine.node.supervision import Plan
from engine.process import computing
from storage.home.paths import Home

if TYPE_CHECKING:  # the gateway is started before the store's libraries are imported
    from engine.node.planning import Instance
    from storage.releases import Engine, Server

_LINGER_S: Final = 5.0
_INSTANCE_BEAT_S: Final = 30.0
"""A worker sends heartbeats between steps, and a step of a large model on a CPU may take long."""


def gateway(home: Home) -> Spec:
    """The HTTP gateway. It is retried when it cannot listen; the node decides what that means."""
    return _process(home, "gateway", "engine.gateway", Plan())


def control(home: Home) -> Spec:
    """The controllers."""
    return _process(home, "control", "engine.control", Plan(beats=True))


def runner(home: Home) -> Spec:
    """The runner of runbooks."""
    return _process(home, "runner", "runbooks", Plan(beats=True))


def reads(home: Home, gid: int) -> Spec:
    """The process that reads the store for the members of a group."""
    spec = _process(home, "reads", "engine.reads", Plan(beats=True))
    return dataclasses.replace(spec, command=(*spec.command, "--group", str(gid)))


def worker(home: Home, instance: Instance, engine: Engine) -> Spec:
    """The worker of one instance. Its devices come by environment when it is started."""
    assert instance.weights is not None  # noqa: S101 a local deployment has weights
    return Spec(
        name=instance.name,
        kind="worker",
        command=(
            *(sys.executable, "-m", "engine.serving"),
            *("--socket", str(home.worker(instance.name))),
            *(word for each in instance.weights.files for word in ("--model", each.path)),
            *("--sha256", instance.weights.sha256),
            *("--name", instance.name),
            *("--context-tokens", str(engine.context_tokens)),
            *("--max-sequences", str(engine.max_sequences)),
            *("--gpu-layers", str(engine.gpu_layers)),
            *("--threads", str(engine.threads)),
            *("--prefill-budget", str(engine.prefill_budget)),
            *(() if engine.kv_cache_type == "f16" else ("--kv-cache-type", engine.kv_cache_type)),
            *(() if engine.split == "layer" else ("--split", engine.split)),
            *(() if engine.task == "text" else ("--task", engine.task)),
            *(() if engine.pooling == "model" else ("--pooling", engine.pooling)),
        ),
        log=home.log(f"worker-{instance.name}"),
        plan=_instance_plan(),
        model=instance.weights.model,
        deployment=instance.deployment,
        computing=computing.beside(home.worker(instance.name)),
    )


def server(home: Home, instance: Instance) -> Spec:
    """The shim of one supervised server. What it runs comes by environment, see `server_orders`."""
    return Spec(
        name=instance.name,
        kind="server",
        command=(
            *(sys.executable, "-m", "engine.node.server_shim"),
            *("--instance", instance.name),
        ),
        log=home.log(f"server-{instance.name}"),
        plan=_instance_plan(),
        model=None if instance.weights is None else instance.weights.model,
        deployment=instance.deployment,
    )


def server_orders(
    home: Home, instance: Instance, settings: Server, devices: tuple[int, ...]
) -> dict[str, str]:
    """The environment of a shim: the command of its server, filled in but for its port."""
    values = {
        "host": "{host}",
        "port": "{port}",
        "model": settings.model,
        "weights": "" if instance.weights is None else instance.weights.path,
        "devices": ",".join(map(str, devices)),
        "context_tokens": settings.context_tokens,
        "max_sequences": settings.max_sequences,
    }
    orders = Orders(
        command=tuple(settings.filled(word, values) for word in settings.command),
        environment={
            name: settings.filled(word, values) for name, word in settings.environment.items()
        },
        health_path=settings.health_path,
        address=str(home.server(instance.name)),
        silent_s=_us("PADDOCK_SILENT_S", server_process.SILENT_S) / supervision.SECOND_US,
        drain_s=_instance_plan().drain_us / supervision.SECOND_US,
    )
    return {server_process.VARIABLE: msgspec.json.encode(orders).decode()}


def _instance_plan() -> Plan:
    return _patience(Plan(beats=True, beat_us=_us("PADDOCK_BEAT_S", _INSTANCE_BEAT_S)))


def _process(home: Home, name: str, module: str, plan: Plan) -> Spec:
    return Spec(
        name=name,
        kind=name,
        command=(sys.executable, "-m", module, "--home", str(home.root)),
        log=home.log(name),
        plan=_patience(plan),
    )


def _patience(plan: Plan) -> Plan:
    return dataclasses.replace(
        plan,
        token_us=_us("PADDOCK_TOKEN_S", plan.token_us / supervision.SECOND_US),
        drain_us=_us("PADDOCK_DRAIN_S", plan.drain_us / supervision.SECOND_US),
    )


def linger_us() -> int:
    """How long an instance that is no longer needed stays, so that the gateway can notice."""
    return _us("PADDOCK_LINGER_S", _LINGER_S)


def _us(name: str, otherwise_s: float) -> int:
    try:
        seconds = float(os.environ.get(name, ""))
    except ValueError:
        seconds = otherwise_s
    return int(seconds * supervision.SECOND_US)
