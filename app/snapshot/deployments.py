"""The processes of the node, and what is loaded for releases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one instance, or several together, do now; None where a backend does not report it."""

    running: int
    max_running: int | None
    kv: float | None  # share of the tokens that the cache can hold
    waiting: int  # in all: those of the instances, and those that the gateway holds
    oldest_us: int | None
    tokens_per_s: float | None
    busy: float | None
    held: int = 0  # in the gateway, because nothing can take them yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that the node supervises, other than the instances of deployments."""

    name: str
    kind: str
    state: str
    reason: str
    restarts: int
    pid: int | None
    started_at_us: int
    died: str = ""  # how it ended before its last restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running copy of a deployment; `load` while it has current samples."""

    name: str
    state: str
    reason: str
    restarts: int
    pid: int | None
    started_at_us: int
    load: Load | None = None
    died: str = ""  # how it ended before its last restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is loaded for releases, with its instances.

    `state` is the worst of them: ready, starting, draining, stopped, silent, crashed or failing;
    for an upstream, which has no instances here, answering or down. `reason` says why it is not
    well.
    """

    name: str
    backend: str  # local, server or upstream
    state: str
    reason: str
    ready: int  # instances
    replicas: int  # instances that are wanted
    instances: tuple[Instance, ...]
    load: Load | None = None

    @property
    def well(self) -> bool:
        """Whether all of it can answer."""
        return self.state in {"ready", "answering"}

    @property
    def restarts(self) -> int:
        """Of all its instances."""
        return sum(each.restarts for each in self.instances)
