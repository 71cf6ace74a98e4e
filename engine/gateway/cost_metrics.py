"""What requests cost and what is left of budgets, for /metrics.

`paddock_cost_total` grows when a request ends, by the prices in force then. Its energy is what
computing took in the last quarter hours, by the request's computing time; bills have the energy of
the quarter hour itself. Imported by `engine.gateway.metrics`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.metering import windows
from engine.metering.budgets import Budgets
from storage.requests import Request

_PICO: Final = 10**12


@dataclass(slots=True)
class _Arm:
    pico: int = 0
    used: int = 0
    """The second of its last request."""


class CostMetrics(Collector):
    """The costs of arms since this gateway began, and the state of budgets."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._arms: dict[tuple[str, int], _Arm] = {}

    def ended(self, request: Request) -> None:
        """Count what a request costs; nothing where a price is missing."""
        pico = self._budgets.ended(request)
        if pico is None or request.release is None:
            return
        arm = self._arms.setdefault((request.service, request.release), _Arm())
        arm.pico += pico
        arm.used = (request.at_us + request.latency_us) // 1_000_000

    def forget(self, second: int, live: Container[tuple[str, int]]) -> None:
        """Forget arms that are not live an hour after their last request."""
        for key, arm in list(self._arms.items()):
            if key not in live and second - arm.used > windows.KEPT_S:
                del self._arms[key]

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """One family after another."""
        cost = CounterMetricFamily(
            "paddock_cost",
            "Cost of requests that ended, energy included, in the box's currency.",
            labels=["service", "release", "currency"],
        )
        for (service, release), arm in sorted(self._arms.items()):
            labels = [service, f"r{release}", self._budgets.currency]
            cost.add_metric(labels, arm.pico / _PICO)
        yield cost
        labels = ["scope", "subject", "period"]
        limit = GaugeMetricFamily("paddock_budget_limit", "Limit of a budget.", labels=labels)
        spent = GaugeMetricFamily("paddock_budget_spent", "Spent of a budget.", labels=labels)
        for counter in self._budgets.counters:
            budget = counter.budget
            of = [budget.scope.value, budget.subject, budget.period.value]
            limit.add_metric(of, budget.limit_micro / 1e6)
            spent.add_metric(of, counter.spent / _PICO)
        yield from (limit, spent)
