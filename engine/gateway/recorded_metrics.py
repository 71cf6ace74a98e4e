"""What /metrics exports beside the gateway's own figures: the machine, its GPUs, instances, alerts.

Control and the node measured it, the store has it; names and values are those that alert rules are
evaluated over (`storage.exported_series`). Imported by `engine.gateway.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from engine.metering import series_of_samples, series_of_state
from engine.metering.series_of_samples import Value
from storage import alerts, exported_series, samples
from storage.exported_series import Exported, Kind
from storage.store import Session

RECENT_S: Final = 10
"""How old a sample may be to count as the present one; quiet instances have one in four seconds."""

_SECOND_US: Final = 1_000_000
_OWN: Final = frozenset({"paddock_requests_held", "paddock_connections", "paddock_feedback"})
"""Gauges that the gateway exports itself."""


async def families(s: Session, now_us: int) -> list[CounterMetricFamily | GaugeMetricFamily]:
    """The families that have a value now, and the alerts that are pending or firing."""
    second = now_us // _SECOND_US
    begin = second - RECENT_S
    found: list[Value] = []
    hosts = {name: each for _, name, each in await samples.since(
        s, begin, samples.Kind.HOST, second)}  # fmt: skip
    gpus = {name: each for _, name, each in await samples.since(
        s, begin, samples.Kind.GPU, second)}  # fmt: skip
    instances = {name: each for _, name, each in await samples.since(
        s, begin, samples.Kind.INSTANCE, second)}  # fmt: skip
    for host in hosts.values():
        found += series_of_samples.of_host(host)
    for gpu in gpus.values():
        found += series_of_samples.of_gpu(gpu)
    for name, instance in instances.items():
        found += series_of_samples.of_instance(name, instance)
    found += await series_of_state.values(s, now_us)
    active = GaugeMetricFamily(
        "paddock_alerts",
        "Alerts that are pending or firing.",
        labels=["alertname", "severity", "alertstate", "about"],
    )
    for alert in await alerts.active(s):
        labels = [alert.rule, alert.severity.value, alert.state.value, alert.subject]
        active.add_metric(labels, 1)
    return [*_families(found), active]


def _families(
    values: Iterable[Value],
) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
    known: Mapping[str, Exported] = {each.name: each for each in exported_series.FAMILIES}
    found: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for name, labels, value in values:
        about = known[name]
        if name in _OWN:
            continue
        if name not in found:
            family = CounterMetricFamily if about.kind is Kind.COUNTER else GaugeMetricFamily
            found[name] = family(name, about.help, labels=about.labels)
        found[name].add_metric([labels[label] for label in about.labels], value)
    return found.values()
