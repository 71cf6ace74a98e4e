"""The evaluator: an expression over recorded series at one moment, as Prometheus would answer it.

One thing more than Prometheus: a vector also knows which of its elements were measured and did not
meet a comparison (`Vector.unmet`). A comparison with NaN, as of an error rate without a request,
is neither met nor unmet. Pure, and bounded by a budget of samples. Imported by
`engine.control.alerts`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from engine.control.alerts import functions, pairing, vectors
from engine.control.alerts.vectors import NAME, Database, Faulty, Labels, OverBudget, Vector
from storage import alert_expressions
from storage.alert_expressions import Aggregate, Binary, Call, Match, Negate, Node, Number, Selector

SAMPLES: Final = 500_000
"""How many samples one evaluation may read."""

_OPERATIONS: Final[Mapping[str, Callable[[float, float], float]]] = MappingProxyType(
    {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": functions.divided,
        "%": functions.remainder,
        "^": functions.power,
    }
)
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = MappingProxyType(
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)


class Budget:
    """What an evaluation may still read; `late` says whether its time is over."""

    def __init__(self, samples: int = SAMPLES, late: Callable[[], bool] = lambda: False) -> None:
        self.left = samples
        self._late = late

    def spend(self, samples: int) -> None:
        """Count samples that were read.

        Raises:
            OverBudget: there are none left, or the time is over.
        """
        self.left -= samples
        if self.left < 0:
            raise OverBudget("it reads more samples than one rule may; shorten its ranges")
        if self._late():
            raise OverBudget("it takes longer than one rule may; make it simpler")


class Evaluator:
    """Expressions at one moment (UTC milliseconds)."""

    def __init__(self, series: Database, now_ms: int, budget: Budget | None = None) -> None:
        self._series = series
        self._now_ms = now_ms
        self._budget = budget or Budget()

    def vector(self, node: Node) -> Vector:
        """The result as a vector; a number is one element without labels.

        Raises:
            Faulty: two elements have the same labels, vectors cannot be paired, or the budget is
                spent.
        """
        found = self._of(node)
        return Vector({(): found}) if isinstance(found, float) else found

    def _of(self, node: Node) -> Vector | float:
        match node:
            case Number():
                return node.value
            case Negate():
                found = self._of(node.of)
                return -found if isinstance(found, float) else _mapped(found, lambda value: -value)
            case Selector():
                return self._newest(node)
            case Aggregate():
                return self._aggregated(node)
            case Call():
                return self._called(node)
            case Binary():
                return self._combined(node)

    # Series

    def _newest(self, node: Selector) -> Vector:
        if node.range_s is not None:
            raise Faulty("a range is not a value; use a function over it")
        found, at = Vector(), self._now_ms - node.offset_s * 1000
        for series in self._matching(node):
            value, cost = series.at(at)
            self._budget.spend(cost)
            if value is not None:
                found.put(vectors.ordered((*series.labels, (NAME, node.name))), value)
        return found

    def _matching(self, node: Selector) -> list[vectors.Series]:
        found = []
        for series in self._series.get(node.name, ()):
            labels = dict(series.labels)
            if all(matcher.fits(labels) for matcher in node.matchers):
                found.append(series)
        self._budget.spend(len(found))
        return found

    def _ranged(self, function: str, node: Node) -> Vector:
        if not isinstance(node, Selector) or node.range_s is None:
            raise Faulty(f"{function} takes a range of samples, as in {function}(name[5m])")
        end_ms = self._now_ms - node.offset_s * 1000
        begin_ms = end_ms - node.range_s * 1000
        found = Vector()
        for series in self._matching(node):
            samples = series.within(begin_ms, end_ms)
            self._budget.spend(len(samples))
            labels = series.labels
            if function in functions.OVER_TIME:
                if not samples:
                    continue
                value: float | None = functions.OVER_TIME[function]([each for _, each in samples])
                if function == "last_over_time":
                    labels = vectors.ordered((*labels, (NAME, node.name)))
            else:
                value = functions.extrapolated(
                    samples,
                    begin_ms,
                    end_ms,
                    counter=function != "delta",
                    per_second=function == "rate",
                )
            if value is not None:
                found.put(labels, value)
        return found

    # Functions

    def _called(self, node: Call) -> Vector | float:  # noqa: PLR0911 a line each
        name, arguments = node.function, node.arguments
        if name in alert_expressions.RANGED:
            return self._ranged(name, arguments[0])
        match name:
            case "time":
                return self._now_ms / 1000
            case "scalar":
                values = list(self.vector(arguments[0]).values.values())
                return values[0] if len(values) == 1 else math.nan
            case "vector":
                return self.vector(arguments[0])
            case "absent":
                return self._absent(arguments[0])
            case "histogram_quantile":
                return self._quantile(self._number(arguments[0]), self.vector(arguments[1]))
        bounds = [self._number(each) for each in arguments[1:]]
        function = functions.BY_VALUE[name]
        return _mapped(self.vector(arguments[0]), lambda value: function(value, *bounds))

    def _number(self, node: Node) -> float:
        found = self._of(node)
        return found if isinstance(found, float) else math.nan

    def _absent(self, node: Node) -> Vector:
        """1 where there is no element; its labels are those that the selector asks for."""
        equal: dict[str, str] = {}
        twice: set[str] = set()
        for each in node.matchers if isinstance(node, Selector) else ():
            if each.match is not Match.EQUAL or each.label in equal:
                twice.add(each.label)
            else:
                equal[each.label] = each.value
        labels = vectors.ordered((k, v) for k, v in equal.items() if k not in twice)
        return Vector(unmet={labels}) if self.vector(node).values else Vector({labels: 1.0})

    def _quantile(self, q: float, found: Vector) -> Vector:
        groups: dict[Labels, list[tuple[float, float]]] = {}
        for labels, count in found.values.items():
            try:
                bound = float(dict(labels)["le"].replace("Inf", "inf"))
            except (KeyError, ValueError):
                continue
            group = vectors.besides(labels, {"le", NAME})
            groups.setdefault(group, []).append((bound, count))
        return Vector({key: functions.quantile(q, buckets) for key, buckets in groups.items()})

    def _aggregated(self, node: Aggregate) -> Vector:
        found = self.vector(node.of)

        def group(labels: Labels) -> Labels:
            if node.without:
                return vectors.besides(labels, {*node.labels, NAME})
            return vectors.only(labels, node.labels)

        groups: dict[Labels, list[float]] = {}
        for labels, value in found.values.items():
            groups.setdefault(group(labels), []).append(value)
        function = functions.GROUPED[node.operation]
        return Vector(
            {labels: function(values) for labels, values in groups.items()},
            {group(labels) for labels in found.unmet},
        ).settled()

    # Operators

    def _combined(self, node: Binary) -> Vector | float:
        left, right = self._of(node.left), self._of(node.right)
        if isinstance(left, float) and isinstance(right, float):
            return float(_computed(node.operation, left, right) or 0)
        if node.operation in alert_expressions.SETS:
            if isinstance(left, float) or isinstance(right, float):
                raise Faulty(f"{node.operation} takes two vectors")
            return pairing.sets(node, left, right)
        if isinstance(right, float):
            return _with_number(node, left, lambda value: (value, right))  # type: ignore[arg-type]
        if isinstance(left, float):
            return _with_number(node, right, lambda value: (left, value))
        return pairing.pairs(node, left, right, _computed)


def _computed(operation: str, left: float, right: float) -> float | bool | None:
    """The value of an arithmetic operation, or whether a comparison holds; None: unknown."""
    if operation in _OPERATIONS:
        return _OPERATIONS[operation](left, right)
    if (math.isnan(left) or math.isnan(right)) and operation != "!=":
        return None
    return _COMPARISONS[operation](left, right)


def _with_number(
    node: Binary, found: Vector, sides: Callable[[float], tuple[float, float]]
) -> Vector:
    """A vector with a number on its other side."""
    result = Vector()
    filters = node.operation in alert_expressions.COMPARISONS and not node.as_bool
    for labels, value in found.values.items():
        computed = _computed(node.operation, *sides(value))
        if not filters:
            result.put(vectors.nameless(labels), float(computed or 0))
        elif computed:
            result.put(labels, value)
        elif computed is not None:
            result.unmet.add(labels)
    result.unmet |= found.unmet if filters else set(map(vectors.nameless, found.unmet))
    return result.settled()


def _mapped(found: Vector, function: Callable[[float], float]) -> Vector:
    """Each value through a function; the name of the metric is lost."""
    result = Vector(unmet=set(map(vectors.nameless, found.unmet)))
    for labels, value in found.values.items():
        result.put(vectors.nameless(labels), function(value))
    return result.settled()
