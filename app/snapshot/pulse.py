"""The box at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from app.snapshot.deployments import Deployment, Load, Process
from app.snapshot.machine import Machine
from app.snapshot.traffic import Service, TrafficWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One quantity: a value for each second up to `end`, None where nothing was measured."""

    title: str
    top: float
    label: str  # the top of the range as the axis shows it
    last: str  # the newest value as it is printed
    end: int  # the second of the last value, whole seconds since 1970
    values: tuple[float | None, ...]
    span: str = "15 min"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An intent, or a change of a process."""

    at_us: int
    who: str
    what: str
    state: str
    reason: str = ""  # that the person gave


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The node's newest run, whether it lives or not."""

    pid: int
    version: str
    started_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A maintenance window in force, or one to come where `begun` is false.

    `of` are the labels of the alerts that it marks, as in service=support.
    """

    id: int
    of: str
    by: str
    reason: str
    starts_at_us: int
    ends_at_us: int
    begun: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The box at a glance."""

    machine: Machine
    load: Load | None
    ttft_p95_us: float | None
    charts: tuple[Series, ...]  # the most telling one first
    services: tuple[Service, ...]
    processes: tuple[Process, ...]
    deployments: tuple[Deployment, ...]
    events: tuple[Event, ...]
    window: TrafficWindow
    run: Run | None = None
    maintenance: tuple[Maintenance, ...] = ()  # those in force first, then the next to begin
