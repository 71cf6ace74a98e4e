"""How each part is started, and how patiently it is watched.

Tests and small machines may shorten or stretch the patience by environment: `PADDOCK_BEAT_S`,
`PADDOCK_TOKEN_S`, `PADDOCK_DRAIN_S`, `PADDOCK_LINGER_S`, seconds as decimals. Imported by
`engine.node`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Final

from engine.node import supervision
from engine.node.specs import Spec
from engine.node.supervision import Plan
from storage.home.paths import Home

if TYPE_CHECKING:  # the gateway is started before the store's libraries are read
    from engine.node.placement import Worker

_LINGER_S: Final = 5.0
_WORKER_BEAT_S: Final = 30.0
"""A worker beats between steps, and one step of a large model on a CPU may take long."""


def gateway(home: Home) -> Spec:
    """The HTTP door. It is tried again when it cannot listen; the node decides what that means."""
    return _part(home, "gateway", "gateway", "engine.gateway", Plan())


def control(home: Home) -> Spec:
    """The controllers."""
    return _part(home, "control", "control", "engine.control", Plan(beats=True))


def runner(home: Home) -> Spec:
    """Who runs runbooks for people."""
    return _part(home, "runner", "runner", "runbooks", Plan(beats=True))


def worker(home: Home, wanted: Worker) -> Spec:
    """One worker."""
    engine = wanted.engine
    name = f"worker-{wanted.name}"
    return Spec(
        name=wanted.name,
        kind="worker",
        command=(
            *(sys.executable, "-m", "engine.serving"),
            *("--socket", str(home.worker(wanted.name))),
            *("--model", wanted.path),
            *("--sha256", wanted.sha256),
            *("--name", wanted.name),
            *("--context-tokens", str(engine.context_tokens)),
            *("--max-sequences", str(engine.max_sequences)),
            *("--gpu-layers", str(engine.gpu_layers)),
            *("--threads", str(engine.threads)),
            *("--prefill-budget", str(engine.prefill_budget)),
        ),
        log=home.logs / f"{name}.log",
        plan=_patience(Plan(beats=True, beat_us=_us("PADDOCK_BEAT_S", _WORKER_BEAT_S))),
        model=wanted.model,
    )


def _part(home: Home, name: str, kind: str, module: str, plan: Plan) -> Spec:
    return Spec(
        name=name,
        kind=kind,
        command=(sys.executable, "-m", module, "--home", str(home.root)),
        log=home.logs / f"{name}.log",
        plan=_patience(plan),
    )


def _patience(plan: Plan) -> Plan:
    return dataclasses.replace(
        plan,
        token_us=_us("PADDOCK_TOKEN_S", plan.token_us / supervision.SECOND_US),
        drain_us=_us("PADDOCK_DRAIN_S", plan.drain_us / supervision.SECOND_US),
    )


def linger_us() -> int:
    """How long a worker that no split names stays, so that the gateway reads the split first."""
    return _us("PADDOCK_LINGER_S", _LINGER_S)


def _us(name: str, otherwise_s: float) -> int:
    try:
        seconds = float(os.environ.get(name, ""))
    except ValueError:
        seconds = otherwise_s
    return int(seconds * supervision.SECOND_US)
