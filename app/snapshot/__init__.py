"""What screens show: frozen snapshots of the box, each built from one read of the store.

Figures of the load are of the last ten seconds, those of traffic of the last five minutes. What was
not measured is None and is drawn as a dash, never as a zero. Nothing here reads or formats.
Built by `app.figures`, carried by `app.poller`, drawn by `app.screens`.
A place's figures are a module here, as they are in `app.figures` and `app.screens`.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.snapshot.ab_tests import AbTestRow, AbTests
from app.snapshot.alerts import AlertRow, Alerts
from app.snapshot.cost import BudgetRow, Cost, CostRow
from app.snapshot.deployments import Deployment, Instance, Load, Process
from app.snapshot.gpus import GpuCard, GpuProcess, Gpus
from app.snapshot.header import Header, Node, Person, Trouble
from app.snapshot.incidents import Incident, IncidentRow, Incidents
from app.snapshot.jobs import Job, JobRow, JobStep
from app.snapshot.ledger import Ledger, LedgerRow
from app.snapshot.machine import Gpu, Host, Machine
from app.snapshot.models import ModelRow
from app.snapshot.prompts import Difference, Prompt, PromptLabel, PromptRow, Prompts
from app.snapshot.pulse import Event, Maintenance, Pulse, Run, Series
from app.snapshot.releases import ReleaseRow, Releases
from app.snapshot.replays import Replay, ReplayRow
from app.snapshot.requests import Opinion, Request, RequestRow, Requests
from app.snapshot.rollouts import Rollout, RolloutMove, RolloutRow
from app.snapshot.runbooks import BookRow, BookRun, Runbooks, RunRow, RunStep
from app.snapshot.traffic import Arm, Readiness, Service, Split, Traffic, TrafficWindow

__all__ = [
    "AbTestRow",
    "AbTests",
    "AlertRow",
    "Alerts",
    "Arm",
    "BookRow",
    "BookRun",
    "BudgetRow",
    "Cost",
    "CostRow",
    "Deployment",
    "Difference",
    "Event",
    "Gpu",
    "GpuCard",
    "GpuProcess",
    "Gpus",
    "Header",
    "Host",
    "Incident",
    "IncidentRow",
    "Incidents",
    "Instance",
    "Job",
    "JobRow",
    "JobStep",
    "Ledger",
    "LedgerRow",
    "Load",
    "Machine",
    "Maintenance",
    "ModelRow",
    "Node",
    "Opinion",
    "Person",
    "Process",
    "Prompt",
    "PromptLabel",
    "PromptRow",
    "Prompts",
    "Pulse",
    "Query",
    "Readiness",
    "ReleaseRow",
    "Releases",
    "Replay",
    "ReplayRow",
    "Request",
    "RequestRow",
    "Requests",
    "Rollout",
    "RolloutMove",
    "RolloutRow",
    "Run",
    "RunRow",
    "RunStep",
    "Runbooks",
    "Series",
    "Service",
    "Snapshot",
    "Split",
    "Traffic",
    "TrafficWindow",
    "Trouble",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What the open place shows, so that nothing else is read."""

    place: str = "pulse"
    at_us: int | None = None  # the past moment that is shown; None: now
    filter: str = ""
    limit: int = 100
    request: str = ""
    job: int = 0
    incident: int = 0  # 0: the newest
    alert: str = ""  # alert 3, rule errors; empty: the first row
    cost_by: str = "service"
    rollout: int = 0
    run: int = 0  # of a runbook
    replay: int = 0
    ab_test: int = 0  # 0: the newest
    prompt: str = ""  # terse@3
    against: str = ""  # the version that it is compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything one look gave; the part of a place that was not looked at is None."""

    header: Header
    query: Query = Query()  # what was looked at
    pulse: Pulse | None = None
    traffic: Traffic | None = None
    requests: Requests | None = None
    request: Request | None = None
    jobs: tuple[JobRow, ...] | None = None  # newest first
    job: Job | None = None
    models: tuple[ModelRow, ...] | None = None
    alerts: Alerts | None = None
    cost: Cost | None = None
    gpu: Gpus | None = None
    ledger: Ledger | None = None
    incidents: Incidents | None = None
    incident: Incident | None = None
    latest: tuple[RolloutRow, ...] = ()  # the newest rollout of each service
    rollouts: tuple[RolloutRow, ...] | None = None  # newest first
    rollout: Rollout | None = None
    runbooks: Runbooks | None = None
    run: BookRun | None = None
    ab_tests: AbTests | None = None
    replays: tuple[ReplayRow, ...] | None = None  # newest first
    replay: Replay | None = None
    prompts: Prompts | None = None
    prompt: Prompt | None = None
    releases: Releases | None = None
    missing: str = ""  # why what was asked for is not there
