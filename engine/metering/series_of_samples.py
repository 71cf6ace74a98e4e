"""Samples as values of the exported series: one definition for /metrics and for alert rules.

Pure. Imported by `engine.control.alerts` and by the gateway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from storage import samples
from storage.exported_series import BOUNDS_S
from storage.samples import GatewaySample, GpuSample, HostSample, InstanceSample
from storage.tallies import Tally

Value = tuple[str, dict[str, str], float]
"""Name, labels, value."""

THROTTLES: Final = ("thermal", "hardware", "power")
"""How the reasons for throttling begin (`engine.metering.gpu`)."""

_US: Final = 1e6
_HISTOGRAMS: Final = ("latency", "ttft", "queue")
_OUTCOMES: Final = ("ok", "failed", "invalid", "refused", "cancelled")


def of_arm(subject: str, tally: Tally, names: Collection[str]) -> Iterator[Value]:
    """What a tally of support/r14 adds to its counters, without unneeded histograms."""
    service, _, release = subject.partition("/")
    arm = {"service": service, "release": release}
    for outcome in _OUTCOMES:
        labels = arm | {"outcome": outcome}
        yield "paddock_requests_total", labels, getattr(tally, outcome)
    for kind in ("prompt", "cached", "completion"):
        yield "paddock_tokens_total", arm | {"kind": kind}, getattr(tally, f"{kind}_tokens")
    yield "paddock_busy_seconds_total", arm, tally.busy_us / _US
    for thumb in ("up", "down"):
        yield "paddock_feedback", arm | {"thumb": thumb}, getattr(tally, f"thumbs_{thumb}")
    for name in _HISTOGRAMS:
        if not any(asked.startswith(f"paddock_{name}_seconds") for asked in names):
            continue
        sketch = getattr(tally, name)
        family = f"paddock_{name}_seconds"
        counts = sketch.at_most([bound * _US for bound in BOUNDS_S])
        for bound, count in zip(BOUNDS_S, counts, strict=True):
            yield f"{family}_bucket", arm | {"le": f"{float(bound)}"}, count
        yield f"{family}_bucket", arm | {"le": "+Inf"}, sketch.count
        yield f"{family}_count", arm, sketch.count
        yield f"{family}_sum", arm, sketch.total / _US


def counts_of_gateway(sample: GatewaySample) -> Iterator[Value]:
    """What a sample of the gateway adds to its counters."""
    for reason, count in sample.refused.items():
        yield "paddock_connections_refused_total", {"reason": reason}, count
    for code, count in sample.rejected.items():
        yield "paddock_requests_rejected_total", {"code": code}, count


def of_gateway(sample: GatewaySample) -> Iterator[Value]:
    """The gauges of the gateway."""
    yield "paddock_requests_held", {}, sample.held
    yield "paddock_connections", {}, sample.connections


def of_instance(instance: str, sample: InstanceSample) -> Iterator[Value]:
    """The gauges of a worker, of a supervised server or of an upstream."""
    labels = {"deployment": samples.deployment(instance), "worker": instance}
    yield "paddock_instance_running", labels, sample.running
    yield "paddock_instance_waiting", labels, sample.waiting
    if sample.oldest_waiting_us is not None:
        oldest = sample.oldest_waiting_us / _US
        yield "paddock_instance_oldest_waiting_seconds", labels, oldest
    share = sample.kv_share
    if share is None and sample.kv_total_tokens and sample.kv_used_tokens is not None:
        share = sample.kv_used_tokens / sample.kv_total_tokens
    if share is not None:
        yield "paddock_instance_kv_ratio", labels, share


def of_host(sample: HostSample) -> Iterator[Value]:
    """The gauges of the machine."""
    yield "paddock_host_cpu_ratio", {}, sample.cpu_percent / 100
    yield "paddock_host_memory_used_bytes", {}, sample.memory_used
    yield "paddock_host_memory_total_bytes", {}, sample.memory_total
    yield "paddock_host_disk_used_bytes", {}, sample.disk_used
    yield "paddock_host_disk_total_bytes", {}, sample.disk_total


def counts_of_gpu(sample: GpuSample) -> Iterator[Value]:
    """The errors that the driver reported of a GPU in one second."""
    for xid in sample.xids or ():
        labels = {"gpu": str(sample.index), "xid": str(xid)}
        yield "paddock_gpu_xid_errors_total", labels, 1


def of_gpu(sample: GpuSample) -> Iterator[Value]:
    """The gauges of a GPU, those that it reports."""
    labels = {"gpu": str(sample.index)}
    yield "paddock_gpu_memory_used_bytes", labels, sample.memory_used
    yield "paddock_gpu_memory_total_bytes", labels, sample.memory_total
    if sample.utilisation_percent is not None:
        yield "paddock_gpu_utilisation_ratio", labels, sample.utilisation_percent / 100
    if sample.power_mw is not None:
        yield "paddock_gpu_power_watts", labels, sample.power_mw / 1000
    if sample.temperature_c is not None:
        yield "paddock_gpu_temperature_celsius", labels, sample.temperature_c
    for reason in THROTTLES:
        throttled = any(each.startswith(reason) for each in sample.throttle)
        yield "paddock_gpu_throttled", labels | {"reason": reason}, float(throttled)
