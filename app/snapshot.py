"""What screens show: frozen snapshots of the box, each built from one read of the store.

Figures of the load are of the last ten seconds, those of traffic of the last five minutes. What was
not measured is None and is drawn as a dash, never as a zero. Nothing here reads or formats.
Built by `app.figures`, carried by `app.poller`, drawn by `app.screens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.release_content import Content


class Node(StrEnum):
    """Whether the node lives, as far as this terminal knows."""

    ASKING = "asking"  # no answer yet
    UP = "up"
    SILENT = "silent"  # it runs and does not answer; the gateway and the workers may
    DOWN = "down"
    ABSENT = "absent"  # there is no box in this home yet

    @property
    def runs(self) -> bool:
        """Whether there is a node, whether it answers or not."""
        return self in {Node.UP, Node.SILENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The person at this terminal; `role` is empty until the control socket has said it."""

    name: str
    role: str = ""

    @property
    def acts(self) -> bool:
        """Whether this role may change anything."""
        return self.role in {"operator", "admin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that is known to be wrong: in a few words for a narrow row, and in a sentence.

    `unanswered`: because of it clients of some service get no answer at all.
    """

    brief: str
    sentence: str
    unanswered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first row of every place."""

    host: str
    person: Person
    node: Node
    live: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    """Services with their arms as (release, basis points)."""
    synthetic: float | None = None  # share of the requests in the window
    troubles: tuple[Trouble, ...] = ()  # the worst first
    as_of_us: int | None = None  # the newest measurement
    now_us: int = 0
    back_us: int = 0  # how far the clock is behind samples in the store
    error: str = ""  # why nothing can be read, in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU now; what the card does not report is None."""

    index: int
    name: str
    utilisation: float | None  # of one
    memory_used: int
    memory_total: int
    power_mw: int | None
    power_limit_mw: int | None
    temperature_c: int | None
    throttle: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine now; `cpu` is a share of all cores."""

    cpu: float
    cores: int
    memory_used: int
    memory_total: int
    disk_used: int
    disk_total: int
    load1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the box is made of; `driver` says whether the kernel has one for GPUs."""

    host: Host | None = None
    gpus: tuple[Gpu, ...] = ()
    driver: bool = False


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
class Arm:
    """One release of a service window: what was set beside what was measured."""

    service: str
    release: int
    model: str
    prompt: str
    weight_bp: int
    actual: float | None
    requests: int
    synthetic: float | None  # share of the requests
    per_s: float | None
    p50_us: float | None
    p95_us: float | None
    ttft_p95_us: float | None
    queue_p95_us: float | None
    errors: float | None  # the error rate
    failed: int
    refused: int
    cancelled: int
    tokens_per_s: float | None
    kilo_micro: int | None  # price of a thousand tokens in micro-units; None without a price
    up: int
    down: int
    liked: float | None  # the share of thumbs up
    between: tuple[float, float] | None = None  # the 95 % interval of `actual`
    departed: bool = False  # it is in the split no more; its requests are still in the window

    @property
    def key(self) -> str:
        """As rows are found again: support/r14."""
        return f"{self.service}/r{self.release}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Weights that were set once."""

    id: int
    arms: tuple[tuple[int, int], ...]  # release, basis points
    set_at_us: int
    set_by: str
    restores: int | None = None  # the split that it went back to
    reason: str = ""  # that the person gave


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service with the splits it has had, newest first; the first is current."""

    name: str
    version: int  # what an intent has seen
    record_text: bool
    requests: int
    synthetic: float | None  # share of the requests
    arms: tuple[Arm, ...]
    history: tuple[Split, ...]
    owner: str = ""  # the rollout or A/B test that owns the split
    frozen: str = ""  # by whom, since when and why


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An intent, or a change of a process."""

    at_us: int
    who: str
    what: str
    state: str
    reason: str = ""  # that the person gave


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficWindow:
    """The window of the traffic figures."""

    window_us: int
    currency: str
    priced: bool
    until_us: int | None = None  # where it ended, when that is not now
    synthetic: float | None = None  # share of the requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The node's newest run, whether it lives or not."""

    pid: int
    version: str
    started_at_us: int


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What a release would do with a request now; `reason` is why it would not answer at once."""

    refused: bool  # control gives it no more traffic
    reason: str
    starts_in_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Services and their arms; `waits` has the releases that would not answer at once."""

    services: tuple[Service, ...]
    window: TrafficWindow
    waits: Mapping[int, Readiness] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One request in the list."""

    id: str
    at_us: int
    service: str
    release: int | None
    outcome: str
    class_: str
    synthetic: bool
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    ttft_us: int | None
    latency_us: int
    code: str  # error code or finish reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The last requests, newest first."""

    rows: tuple[RequestRow, ...]
    filter: str
    more: bool  # there are older ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a client said of an answer."""

    at_us: int
    score: int
    correct: bool | None
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request in full; text only where its service keeps it."""

    row: RequestRow
    worker: str
    endpoint: str
    tenant: str
    key: str
    model: str
    busy_us: int
    seed: int | None
    finish_reason: str
    error_code: str
    opinions: tuple[Opinion, ...]
    records_text: bool
    prompt: str | None
    completion: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One job in the list; `done` of `total` units of its step, None where nothing is counted."""

    id: int
    kind: str
    target: str
    state: str
    step: str
    done: int | None
    total: int | None
    unit: str
    rate_per_s: int | None
    eta_us: int | None
    reason: str
    actor: str
    created_at_us: int

    @property
    def share(self) -> float | None:
        """The part of the step that is done."""
        return None if not self.total or self.done is None else min(1.0, self.done / self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStep:
    """A step of a job; `took_us` once it has ended."""

    name: str
    started: bool
    took_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job in full, with the newest lines of its log as (when, what)."""

    row: JobRow
    attempt: int
    failures: int
    max_failures: int
    started_at_us: int | None
    ended_at_us: int | None
    steps: tuple[JobStep, ...]
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model version, in the order of the family tree; `stem` draws its place in it.

    `loaded` are the instances that have proved to have it in memory, `waiting` those that have
    reported nothing yet, `differences` what differs from the registry there, `known` how the hash
    of the weights is known.
    """

    id: int
    name: str
    stem: str
    aliases: tuple[str, ...]
    kind: str
    base: str
    quantisation: str
    size_bytes: int
    status: str
    reason: str
    well: bool  # workers may load it
    path: str
    source: str
    sha256: str
    memory: str
    made_from: str
    loaded: tuple[str, ...]
    waiting: tuple[str, ...]
    differences: tuple[str, ...]
    known: str
    build: str
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRow:
    """One rollout in the list.

    `step` counts from 1, `doing` is that step in words; `sentence` is what it waits for, or how it
    ended. `following` is where a promotion leads, empty where there is none yet; `undo` what an
    undo does, else `no_undo` is why there is nothing to undo.
    """

    id: int
    service: str
    strategy: str
    stable: str  # r1; empty for the first release of a service
    candidate: str
    state: str
    phase: str
    under_way: bool
    newest: bool  # of its service
    step: int | None
    steps: int
    doing: str
    weight_bp: int | None  # of the candidate, while the rollout owns the split
    started_by: str
    moved_at_us: int
    version: int
    sentence: str
    until_us: int | None
    following: str
    undo: str
    no_undo: str

    @property
    def change(self) -> str:
        """From which release to which."""
        return f"{self.stable or '–'} → {self.candidate}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMove:
    """One move of a rollout."""

    at_us: int
    who: str
    state: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One rollout: its tree as lines, and its moves, newest first."""

    row: RolloutRow
    tree: tuple[str, ...]
    moves: tuple[RolloutMove, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AbTestRow:
    """One A/B test in the list; `result` is its state, or how it ended."""

    id: int
    service: str
    arms: tuple[int, ...]  # the control first
    goal: str
    result: str
    version: int
    winner: int | None
    promotable: bool  # there is a winner, which does not have all of the traffic yet
    under_way: bool
    well: bool  # it is not unhealthy, and no treatment did harm
    started_at_us: int
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AbTests:
    """The A/B tests, newest first, and one of them in full.

    `arms`, `goals` and `guards` are aligned rows of text below their titles; `waiting` is what the
    test waits for, or how it ended.
    """

    rows: tuple[AbTestRow, ...]
    shown: int = 0
    until_us: int | None = None
    arms: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    split: str = ""
    waiting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One prompt version in the list, with the labels that point at it."""

    name: str  # terse@3
    labels: tuple[str, ...]
    tag: str
    author: str
    at_us: int
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLabel:
    """A label of a prompt, and what moving it to the version that is shown would do.

    `undo_to` is the move to go back to, None where there is none and `no_undo` says why.
    """

    label: str
    number: int  # of the version that it points at
    protected: bool
    effect: str
    caution: str
    undo_to: int | None
    undo_effect: str
    no_undo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A part in which two versions differ: rows of (same, removed, added or skipped; text)."""

    title: str
    rows: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt version in full; `against` is what it is compared with, empty for nothing."""

    name: str
    prompt: str
    number: int
    facts: tuple[tuple[str, str], ...]
    quarantined: tuple[str, ...]
    labels: tuple[PromptLabel, ...]  # of the prompt
    against: str
    differences: tuple[Difference, ...]
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Prompt versions by name, newest first within each; `chosen` is the one under the cursor."""

    rows: tuple[PromptRow, ...]
    filter: str
    more: bool
    chosen: Prompt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """One release; `live` are the weights of the splits that name it, by service.

    `rollouts` are those under way that it is the candidate of, in words.
    """

    number: int
    sha256: str
    model: str
    prompt: str
    deployment: str
    at_us: int
    by: str
    comment: str
    live: tuple[tuple[str, int], ...]
    rollouts: tuple[str, ...]
    content: Content

    @property
    def name(self) -> str:
        """As people write it: r14."""
        return f"r{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """The releases that are not retired, newest first, with the services that may name them.

    `retired` is how many are left out.
    """

    rows: tuple[ReleaseRow, ...]
    retired: int = 0
    services: tuple[Service, ...]
    waits: Mapping[int, Readiness]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What the open place shows, so that nothing else is read."""

    place: str = "pulse"
    filter: str = ""
    limit: int = 100
    request: str = ""
    job: int = 0
    rollout: int = 0
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
    latest: tuple[RolloutRow, ...] = ()  # the newest rollout of each service
    rollouts: tuple[RolloutRow, ...] | None = None  # newest first
    rollout: Rollout | None = None
    ab_tests: AbTests | None = None
    prompts: Prompts | None = None
    prompt: Prompt | None = None
    releases: Releases | None = None
    missing: str = ""  # why the request, job or rollout that was asked for is not there
