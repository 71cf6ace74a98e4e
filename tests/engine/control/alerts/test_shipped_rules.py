"""Each shipped rule holds while its fault is there, does not when it is not, and tells no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from engine.control.alerts.decide import Found
from engine.control.alerts.rounds import evaluated
from engine.control.alerts.vectors import Series, ordered
from runbooks import catalog
from storage import alert_rule_files
from storage.alert_rounds import Outcome
from storage.alert_rule_versions import Kind, Versioned
from storage.home.paths import Home

STEP_S: Final = 15
SPAN_S: Final = 6 * 3600
ARM: Final = {"service": "support", "release": "r1"}
WORKER: Final = {"deployment": "ops", "worker": "ops:1"}
BUDGET: Final = {"scope": "tenant", "subject": "acme", "period": "day"}

Written = tuple[str, Mapping[str, str], Callable[[int], float]]
"""Name, labels, and the value at a second."""


def gauge(name: str, value: float, **labels: str) -> Written:
    """A value that stays."""
    return f"paddock_{name}", labels, lambda _: value


def counter(name: str, per_minute: float, **labels: str) -> Written:
    """A count that grows evenly."""
    return f"paddock_{name}", labels, lambda at: at * per_minute / 60


def requests(ok: float, failed: float = 0, refused: float = 0) -> list[Written]:
    """Requests by outcome, each minute."""
    return [
        counter("requests_total", per_minute, **ARM, outcome=outcome)
        for outcome, per_minute in (("ok", ok), ("failed", failed), ("refused", refused))
    ]


def latency(*, over_2: float, over_5: float = 0) -> list[Written]:
    """100 answers a minute, of which shares take over 2 and over 5 seconds."""
    counts = {"2.0": 1 - over_2, "4.0": 1 - (over_2 + over_5) / 2, "8.0": 1.0, "+Inf": 1.0}
    return [
        counter("latency_seconds_bucket", 100 * share, **ARM, le=bound)
        for bound, share in counts.items()
    ] + [counter("latency_seconds_count", 100, **ARM)]


def lost(**labels: str) -> Written:
    """A GPU that answered until a minute ago."""
    return "paddock_gpu_memory_total_bytes", labels, lambda at: 1.0 if at < SPAN_S - 200 else -1.0


CASES: Final[dict[str, tuple[Sequence[Written], Sequence[Written]]]] = {
    "latency-p95": (latency(over_2=0.06), latency(over_2=0.04)),
    "latency-p95-critical": (latency(over_2=0.5, over_5=0.4), latency(over_2=0.06)),
    "error-rate": (requests(100, 2), requests(100, 0.5)),
    "error-budget-burn-fast": (requests(80, 20), requests(90, 10)),
    "error-budget-burn-slow": (requests(90, 10), requests(95, 5)),
    "refusals": (requests(90, 0, 10), requests(96, 0, 4)),
    "satisfaction": (
        [counter("feedback", 1, **ARM, thumb="up"), counter("feedback", 1, **ARM, thumb="down")],
        [counter("feedback", 8, **ARM, thumb="up"), counter("feedback", 2, **ARM, thumb="down")],
    ),
    "cost-of-the-day": (
        [gauge("cost_today", 1000.5, currency="USD")],
        [gauge("cost_today", 999, currency="USD")],
    ),
    "cost-of-the-day-projected": (
        [gauge("cost_today_projected", 1001, currency="USD")],
        [gauge("cost_today_projected", 999, currency="USD")],
    ),
    "budget-nearly-spent": (
        [gauge("budget_state", 1, **BUDGET, state="warned")],
        [gauge("budget_state", 0, **BUDGET, state="warned")],
    ),
    "budget-refuses": (
        [gauge("budget_state", 1, **BUDGET, state="refuses")],
        [gauge("budget_state", 0, **BUDGET, state="refuses")],
    ),
    "instance-down": ([gauge("instance_up", 0, **WORKER)], [gauge("instance_up", 1, **WORKER)]),
    "crash-loop": (
        [counter("process_restarts_total", 0.3, process="ops:1")],
        [counter("process_restarts_total", 0.1, process="ops:1")],
    ),
    "queue-wait": (
        [gauge("instance_oldest_waiting_seconds", 11, **WORKER)],
        [gauge("instance_oldest_waiting_seconds", 9, **WORKER)],
    ),
    "queue-length": (
        [gauge("instance_waiting", 20, **WORKER), gauge("instance_running", 8, **WORKER)],
        [gauge("instance_waiting", 20, **WORKER), gauge("instance_running", 16, **WORKER)],
    ),
    "kv-pressure": (
        [gauge("instance_kv_ratio", 0.96, **WORKER)],
        [gauge("instance_kv_ratio", 0.94, **WORKER)],
    ),
    "gpu-hot": (
        [gauge("gpu_temperature_celsius", 86, gpu="0")],
        [gauge("gpu_temperature_celsius", 84, gpu="0")],
    ),
    "gpu-throttled": (
        [gauge("gpu_throttled", 1, gpu="0", reason="thermal")],
        [gauge("gpu_throttled", 0, gpu="0", reason="thermal")],
    ),
    "gpu-error": (
        [counter("gpu_xid_errors_total", 1, gpu="0", xid="79")],
        [counter("gpu_xid_errors_total", 0, gpu="0", xid="79")],
    ),
    "gpu-lost": ([lost(gpu="0")], [gauge("gpu_memory_total_bytes", 1, gpu="0")]),
    "disk": (
        [gauge("host_disk_used_bytes", 91), gauge("host_disk_total_bytes", 100)],
        [gauge("host_disk_used_bytes", 89), gauge("host_disk_total_bytes", 100)],
    ),
    "disk-full": (
        [gauge("host_disk_used_bytes", 98), gauge("host_disk_total_bytes", 100)],
        [gauge("host_disk_used_bytes", 96), gauge("host_disk_total_bytes", 100)],
    ),
    "memory": (
        [gauge("host_memory_used_bytes", 96), gauge("host_memory_total_bytes", 100)],
        [gauge("host_memory_used_bytes", 94), gauge("host_memory_total_bytes", 100)],
    ),
    "rollout-waits": (
        [gauge("rollout_state_seconds", 3700, service="support", state="paused")],
        [gauge("rollout_state_seconds", 0, service="support", state="paused")],
    ),
    "rollout-stuck": (
        [gauge("rollout_state_seconds", 1900, service="support", state="loading")],
        [gauge("rollout_state_seconds", 100, service="support", state="loading")],
    ),
    "rollout-aborted": (
        [gauge("rollout_state_seconds", 60, service="support", state="aborted")],
        [gauge("rollout_state_seconds", 0, service="support", state="aborted")],
    ),
    "evaluation-regressed": (
        [gauge("evaluation_regressed", 1, model="ops@1.1.0")],
        [gauge("evaluation_regressed", 0, model="ops@1.1.0")],
    ),
    "store-unwritten": (
        [counter("store_unwritten_seconds_total", 2)],
        [counter("store_unwritten_seconds_total", 0)],
    ),
    "automation-waits": (
        [gauge("automation_waiting", 1, runbook="slow", run="7", service="support")],
        [gauge("automation_waiting", 0, runbook="slow", run="7", service="support")],
    ),
    "notifications-undelivered": (
        [gauge("notification_oldest_seconds", 700, receiver="ops")],
        [gauge("notification_oldest_seconds", 0, receiver="ops")],
    ),
}


def found(rule: str, written: Sequence[Written]) -> Found:
    """What a shipped rule finds after six hours of these series; -1 is no sample."""
    database: dict[str, list[Series]] = {}
    for name, labels, value in written:
        points = [
            (at * 1000, measured)
            for at in range(0, SPAN_S + 1, STEP_S)
            if (measured := value(at)) >= 0
        ]
        series = Series(ordered(labels), [at for at, _ in points], [each for _, each in points])
        database.setdefault(name, []).append(series)
    shipped = alert_rule_files.shipped()[rule]
    versioned = Versioned(name=rule, version=0, kind=Kind.SHIPPED, rule=shipped)
    return evaluated(versioned, database, SPAN_S, lambda: 0)


def test_every_shipped_rule_is_tried() -> None:
    """A rule that was never seen to hold may never hold."""
    assert CASES.keys() == alert_rule_files.shipped().keys()


def test_every_shipped_rule_says_what_to_do(tmp_path: Path) -> None:
    """By a runbook that there is, or by a command in its summary."""
    known = catalog.every(Home(tmp_path))
    for name, rule in alert_rule_files.shipped().items():
        assert rule.runbook in known or "`paddock " in rule.summary, name
        assert rule.runbook is None or rule.runbook in known, name


@pytest.mark.parametrize("rule", CASES)
def test_a_shipped_rule_holds_with_its_fault_and_not_without(rule: str) -> None:
    """At the bounds that it is known by."""
    bad, good = CASES[rule]
    assert len(found(rule, bad).holds) == 1
    well = found(rule, good)
    assert (dict(well.holds), well.outcome) == ({}, Outcome.MEASURED)


@pytest.mark.parametrize("rule", CASES)
def test_a_shipped_rule_without_its_series_is_no_data(rule: str) -> None:
    """No cost is known, no GPU is there: neither an alert nor an error."""
    assert found(rule, []).outcome is Outcome.NO_DATA
