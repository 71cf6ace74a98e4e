"""GET /metrics for Prometheus: counters of requests, gauges of workers, upstreams and feedback.

Counters grow when a request ends; gauges are read at each scrape. Error rate, latency, TTFT and
queue time are those of `storage.measures`. The label `worker` holds an instance, such as
ops-1.0.0:1, as samples and requests name it. Imported by the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.backends.fleet import Fleet
from engine.execution.recorder import Recorder
from engine.execution.shadow_copies import ShadowCopies
from engine.gateway import recorded_metrics
from engine.gateway.cost_metrics import CostMetrics
from engine.gateway.http.admission import Admission
from engine.gateway.http.refusals import Reason, Refusals
from engine.gateway.remote_backends import Remotes
from engine.metering import windows
from engine.metering.budgets import Budgets
from storage import errors, exported_series, feedback, rejections, samples, tallies
from storage.home import clock
from storage.requests import Outcome, Request
from storage.store import Store

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ARM: Final = ("service", "release", "synthetic")


disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the exposition


@dataclass(slots=True, kw_only=True)
class _Arm:
    """The series of one arm, found once: looking all of them up costs as much as counting.

    `counters` are those by class, outcome, worker and code. `used` is the second of the last
    request.
    """

    prompt_tokens: Counter
    cached_tokens: Counter
    completion_tokens: Counter
    busy: Counter
    latency: Histogram
    ttft: Histogram
    queue: Histogram
    counters: dict[tuple[str, ...], Counter] = field(default_factory=dict)
    used: int = 0


class Metrics:
    """The counters of one gateway."""

    def __init__(
        self,
        fleet: Fleet,
        remotes: Remotes,
        recorder: Recorder,
        admission: Admission,
        refusals: Refusals,
        rejections: Refusals,
        *,
        ready: Callable[[], bool],
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._arms: dict[tuple[str, ...], _Arm] = {}
        self._costs: CostMetrics | None = None
        self._requests = Counter(
            "paddock_requests",
            "Requests that ended. Error rate: outcome failed / (ok + failed).",
            (*_ARM, "class", "outcome"),
            registry=self._registry,
        )
        self._failures = Counter(
            "paddock_failures",
            "Failed requests by worker, or deployment where none had them, and code of the error.",
            ("service", "release", "worker", "code"),
            registry=self._registry,
        )
        self._tokens = Counter(
            "paddock_tokens",
            "Tokens; cached ones are prompt tokens, too.",
            (*_ARM, "kind"),
            registry=self._registry,
        )
        self._busy = Counter(
            "paddock_busy_seconds",
            "Computing time of workers that went into requests.",
            _ARM,
            registry=self._registry,
        )
        self._latency = Histogram(
            "paddock_latency_seconds",
            "From arrival to the end of the answer, of requests that ended ok.",
            _ARM,
            buckets=exported_series.BOUNDS_S,
            registry=self._registry,
        )
        self._ttft = Histogram(
            "paddock_ttft_seconds",
            "From arrival to the first token.",
            _ARM,
            buckets=exported_series.BOUNDS_S,
            registry=self._registry,
        )
        self._queue = Histogram(
            "paddock_queue_seconds",
            "From arrival to the first computation.",
            _ARM,
            buckets=exported_series.BOUNDS_S,
            registry=self._registry,
        )
        self._registry.register(_Gauges(fleet, remotes, recorder, ready))
        self._registry.register(_Connections(admission, refusals, rejections))

    def show(self, copies: ShadowCopies, budgets: Budgets) -> None:
        """Also show what became of copies for shadows, and count what requests cost."""
        self._registry.register(_Copies(copies))
        self._costs = CostMetrics(budgets)
        self._registry.register(self._costs)

    def ended(self, request: Request) -> None:
        """A request has ended."""
        if self._costs is not None:
            self._costs.ended(request)
        labels = (request.service, f"r{request.release}", str(request.synthetic).lower())
        arm = self._arms.get(labels)
        if arm is None:
            arm = self._arms[labels] = self._arm(labels)
        arm.used = (request.at_us + request.latency_us) // 1_000_000
        _count(arm, self._requests, *labels, request.class_.value, request.outcome.value)
        if request.outcome is Outcome.FAILED:
            code = request.error_code or "internal"
            _count(arm, self._failures, *labels[:2], request.worker, code)
        arm.prompt_tokens.inc(request.prompt_tokens)
        arm.cached_tokens.inc(request.cached_tokens)
        arm.completion_tokens.inc(request.completion_tokens)
        arm.busy.inc(request.busy_us / 1e6)
        for histogram, us in (
            (arm.latency, tallies.latency_us(request)),
            (arm.ttft, tallies.ttft_us(request)),
            (arm.queue, tallies.queue_us(request)),
        ):
            if us is not None:
                histogram.observe(us / 1e6)

    def forget(self, second: int, live: Container[tuple[str, int]]) -> None:
        """Remove the series of arms that are not live an hour after their last request."""
        if self._costs is not None:
            self._costs.forget(second, live)
        for labels, arm in list(self._arms.items()):
            release = labels[1].removeprefix("r")
            key = labels[0], int(release) if release.isdecimal() else -1
            if second - arm.used <= windows.KEPT_S or key in live:
                continue
            del self._arms[labels]
            for name in ("prompt", "cached", "completion"):
                self._tokens.remove(*labels, name)
            for metric in (self._busy, self._latency, self._ttft, self._queue):
                metric.remove(*labels)
            for own, counter in arm.counters.items():
                if not any(own in other.counters for other in self._arms.values()):
                    counter.remove(*own)

    def _arm(self, labels: tuple[str, ...]) -> _Arm:
        return _Arm(
            prompt_tokens=self._tokens.labels(*labels, "prompt"),
            cached_tokens=self._tokens.labels(*labels, "cached"),
            completion_tokens=self._tokens.labels(*labels, "completion"),
            busy=self._busy.labels(*labels),
            latency=self._latency.labels(*labels),
            ttft=self._ttft.labels(*labels),
            queue=self._queue.labels(*labels),
        )

    async def text(self, store: Store) -> bytes:
        """The exposition. What is stored is read from there: feedback survives a restart.

        While the store cannot be read it is left out.
        """
        exposition = generate_latest(self._registry)
        try:
            async with store.read() as s:
                given = await feedback.counts(s)
                recorded = await recorded_metrics.families(s, clock.now_us())
        except errors.StorageError:
            return exposition
        thumbs = GaugeMetricFamily(
            "paddock_feedback",
            "Thumbs on stored requests; a changed thumb counts on its new side only.",
            labels=["service", "release", "thumb"],
        )
        for (service, release), counts in sorted(given.items()):
            thumbs.add_metric([service, f"r{release}", "up"], counts.up)
            thumbs.add_metric([service, f"r{release}", "down"], counts.down)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families([thumbs, *recorded]))
        return exposition + generate_latest(registry)


def _count(arm: _Arm, counter: Counter, *labels: str) -> None:
    arm.counters[labels] = counter
    counter.labels(*labels).inc()


class _Families(Collector):
    """Families that were collected before."""

    def __init__(self, families: Iterable[GaugeMetricFamily | CounterMetricFamily]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """One after another."""
        return self._families


class _Gauges(Collector):
    """The present state, read at each scrape."""

    def __init__(
        self, fleet: Fleet, remotes: Remotes, recorder: Recorder, ready: Callable[[], bool]
    ) -> None:
        self._fleet = fleet
        self._remotes = remotes
        self._recorder = recorder
        self._ready = ready

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """One family after another."""
        yield _gauge("paddock_ready", "Whether every service can answer.", int(self._ready()))
        held = self._fleet.held + self._remotes.held
        yield _gauge("paddock_requests_held", "Requests that wait for an instance.", held)
        yield _gauge("paddock_rows_held", "Rows not yet written to the store.", self._recorder.held)
        yield CounterMetricFamily(
            "paddock_rows_lost",
            "Rows dropped because the store could not be written.",
            value=self._recorder.lost,
        )
        yield from self._workers()
        yield from self._servers()
        yield from self._upstreams()

    def _workers(self) -> Iterable[GaugeMetricFamily]:
        labels = ["deployment", "worker"]
        up = GaugeMetricFamily(
            "paddock_worker_up", "Whether it is connected and not silent.", labels=labels
        )
        families = {
            name: GaugeMetricFamily(f"paddock_worker_{name}", help_text, labels=labels)
            for name, help_text in (
                ("running", "Sequences being computed."),
                ("waiting", "Requests waiting."),
                ("oldest_waiting_seconds", "How long the oldest request has waited."),
                ("kv_used_tokens", "Tokens in the KV cache."),
                ("kv_total_tokens", "Capacity of the KV cache in tokens."),
            )
        }
        knobs = GaugeMetricFamily(
            "paddock_worker_knob", "Knobs in force.", labels=[*labels, "knob"]
        )
        for deployment, instance in self._fleet.instances():
            name, client, step = instance.name, instance.client, instance.client.step
            up.add_metric([deployment, name], int(client.hello is not None and not client.late_us))
            if client.hello is None or step is None:
                continue
            for metric, value in (
                ("running", step.running),
                ("waiting", step.waiting),
                ("oldest_waiting_seconds", step.oldest_waiting_us / 1e6),
                ("kv_used_tokens", step.kv_used_tokens),
                ("kv_total_tokens", step.kv_total_tokens),
            ):
                families[metric].add_metric([deployment, name], value)
            for knob, value in client.knobs.items():
                knobs.add_metric([deployment, name, knob], value)
        yield up
        yield from families.values()
        yield knobs

    def _servers(self) -> Iterable[GaugeMetricFamily]:
        ready = GaugeMetricFamily(
            "paddock_server_ready",
            "Whether an instance of a supervised server can answer.",
            labels=["deployment", "worker"],
        )
        for name, instance in sorted(self._remotes.servers.items()):
            can = instance.health.reason is None
            ready.add_metric([samples.deployment(name), name], int(can))
        yield ready

    def _upstreams(self) -> Iterable[GaugeMetricFamily]:
        ready = GaugeMetricFamily(
            "paddock_upstream_ready", "Whether an upstream can answer.", labels=["upstream"]
        )
        running = GaugeMetricFamily(
            "paddock_upstream_running", "Requests of this box it has.", labels=["upstream"]
        )
        waiting = GaugeMetricFamily(
            "paddock_upstream_waiting",
            "Requests of this box waiting for a connection to it.",
            labels=["upstream"],
        )
        for name, member in sorted(self._remotes.upstreams.items()):
            ready.add_metric([name], int(member.fault is None and member.health.reason is None))
            running.add_metric([name], member.server.slots.used)
            waiting.add_metric([name], member.server.slots.waiting)
        yield from (ready, running, waiting)


class _Connections(Collector):
    """The connections of the HTTP server, and which are refused."""

    def __init__(self, admission: Admission, refusals: Refusals, rejections: Refusals) -> None:
        self._admission = admission
        self._refusals = refusals
        self._rejections = rejections

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """One family after another."""
        admission = self._admission
        yield _gauge("paddock_connections", "Open connections of clients.", admission.count)
        yield _gauge("paddock_connections_limit", "How many there may be.", admission.limit)
        refused = CounterMetricFamily(
            "paddock_connections_refused",
            "Connections that were refused or closed because of a limit or a timeout.",
            labels=["reason"],
        )
        for reason in Reason:
            refused.add_metric([reason.value], self._refusals.totals[reason])
        yield refused
        rejected = CounterMetricFamily(
            "paddock_requests_rejected",
            "Requests that were answered with an error and not recorded, by its code.",
            labels=["code"],
        )
        for code in sorted({*rejections.UNAUTHENTICATED, *self._rejections.totals}):
            rejected.add_metric([code], self._rejections.totals[code])
        yield rejected


class _Copies(Collector):
    """Copies of requests for shadows."""

    def __init__(self, copies: ShadowCopies) -> None:
        self._copies = copies

    def collect(self) -> Iterable[CounterMetricFamily]:
        """One family."""
        family = CounterMetricFamily(
            "paddock_shadow_copies",
            "Copies of requests for the candidate of a shadow, by what became of them.",
            labels=["service", "end"],
        )
        for (service, end), count in sorted(self._copies.ends.items()):
            family.add_metric([service, end.value], count)
        yield family


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)
