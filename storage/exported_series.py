"""The time series of a box by the names that /metrics exports: what alert rules may ask for.

Control keeps the last hours of them at the step of `STEP_S` and evaluates rules over them; a
Prometheus that scrapes the gateway has the same names with the same meaning, so that a rule works
in both. A label that /metrics has beside these (class, synthetic) is summed over here. Reads
nothing. Imported by `storage.alert_rules`, `engine.control.alerts` and the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

STEP_S: Final = 15
"""The distance of samples in control's memory, and of evaluations."""

BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
"""The upper bounds of the histograms, in seconds; above them is only +Inf."""


class Kind(StrEnum):
    """How a series behaves."""

    COUNTER = "counter"  # grows, and begins again at zero after a restart
    GAUGE = "gauge"
    HISTOGRAM = "histogram"  # cumulative buckets by the label le, with _sum and _count


@dataclass(frozen=True, slots=True)
class Exported:
    """One family of series."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> Mapping[str, tuple[str, ...]]:
        """The names that a selector may use, each with its labels."""
        if self.kind is not Kind.HISTOGRAM:
            return {self.name: self.labels}
        return {
            f"{self.name}_bucket": (*self.labels, "le"),
            f"{self.name}_sum": self.labels,
            f"{self.name}_count": self.labels,
        }


_ARM: Final = ("service", "release")
_INSTANCE: Final = ("deployment", "worker")
_BUDGET: Final = ("scope", "subject", "period")
_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

FAMILIES: Final = (
    Exported("paddock_requests_total", _C, "Requests that ended.", (*_ARM, "outcome")),
    Exported("paddock_tokens_total", _C, "Tokens; of prompts also cached.", (*_ARM, "kind")),
    Exported("paddock_busy_seconds_total", _C, "Computing time of requests.", _ARM),
    Exported("paddock_latency_seconds", _H, "Arrival to end, of requests that ended ok.", _ARM),
    Exported("paddock_ttft_seconds", _H, "Arrival to first token.", _ARM),
    Exported("paddock_queue_seconds", _H, "Arrival to first computation.", _ARM),
    Exported("paddock_feedback", _G, "Thumbs on stored requests.", (*_ARM, "thumb")),
    Exported("paddock_requests_held", _G, "Requests that wait for an instance."),
    Exported("paddock_connections", _G, "Open connections of clients."),
    Exported("paddock_connections_refused_total", _C, "Connections refused.", ("reason",)),
    Exported("paddock_requests_rejected_total", _C, "Requests not recorded.", ("code",)),
    Exported(
        "paddock_instance_up", _G, "Whether a worker, server or upstream can answer.", _INSTANCE
    ),
    Exported("paddock_instance_running", _G, "Requests being computed.", _INSTANCE),
    Exported("paddock_instance_waiting", _G, "Requests waiting in an instance.", _INSTANCE),
    Exported(
        "paddock_instance_oldest_waiting_seconds", _G, "How long the oldest has waited.", _INSTANCE
    ),
    Exported("paddock_instance_kv_ratio", _G, "Share of the KV cache in use.", _INSTANCE),
    Exported(
        "paddock_process_restarts_total", _C, "Times that a process was restarted.", ("process",)
    ),
    Exported("paddock_host_cpu_ratio", _G, "CPU in use, of all cores."),
    Exported("paddock_host_memory_used_bytes", _G, "Memory in use."),
    Exported("paddock_host_memory_total_bytes", _G, "Memory of the machine."),
    Exported("paddock_host_disk_used_bytes", _G, "Used on the disk of the data directory."),
    Exported("paddock_host_disk_total_bytes", _G, "Size of the disk of the data directory."),
    Exported("paddock_gpu_utilisation_ratio", _G, "Share of time that it computed.", ("gpu",)),
    Exported("paddock_gpu_memory_used_bytes", _G, "Memory in use.", ("gpu",)),
    Exported("paddock_gpu_memory_total_bytes", _G, "Memory of the GPU.", ("gpu",)),
    Exported("paddock_gpu_power_watts", _G, "Power drawn.", ("gpu",)),
    Exported("paddock_gpu_temperature_celsius", _G, "Temperature.", ("gpu",)),
    Exported("paddock_gpu_throttled", _G, "1 while throttled for a reason.", ("gpu", "reason")),
    Exported("paddock_gpu_xid_errors_total", _C, "Errors that the driver logged.", ("gpu", "xid")),
    Exported(
        "paddock_rollout_state_seconds", _G, "How long a service's newest rollout is there.",
        ("service", "state"),
    ),
    Exported("paddock_evaluation_regressed", _G, "1 while a version is worse.", ("model",)),
    Exported("paddock_cost_today", _G, "Cost of the calendar day so far.", ("currency",)),
    Exported("paddock_cost_today_projected", _G, "Cost of the day at its end.", ("currency",)),
    Exported("paddock_budget_spent_ratio", _G, "Share of a budget that is spent.", _BUDGET),
    Exported(
        "paddock_budget_state", _G, "1 for what a budget is: within, warned, spent or refuses.",
        (*_BUDGET, "state"),
    ),
    Exported(
        "paddock_online_scores", _G, "Answers of the last hour that were checked, by the result.",
        (*_ARM, "scorer", "result"),
    ),
    Exported(
        "paddock_automation_waiting", _G, "1 while a run without a person waits for one.",
        ("runbook", "run", "service"),
    ),
    Exported(
        "paddock_store_unwritten_seconds_total", _C, "Time in which the store took no writes."
    ),
    Exported(
        "paddock_notification_oldest_seconds", _G, "Age of the oldest undelivered one.",
        ("receiver",),
    ),
)  # fmt: skip

SERIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {name: labels for family in FAMILIES for name, labels in family.series.items()}
)
"""The labels of each name that a selector may use."""
