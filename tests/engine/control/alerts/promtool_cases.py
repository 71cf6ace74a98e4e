"""Random series and expressions, as promtool's rule tests take them and as our evaluator does.

One generator feeds both the live comparison and the stored verdicts, so that they try the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.control.alerts import vectors
from engine.control.alerts.vectors import Series

INTERVAL_S: Final = 15
POINTS: Final = 40
SPAN_S: Final = INTERVAL_S * (POINTS + 24)

_SERVICES: Final = ("a", "b", "c")
_BOUNDS: Final = ("0.5", "1", "2", "+Inf")
# Both sum floats, in another order: a threshold that is a likely value would be a toss-up.
_THRESHOLDS: Final = (0, 0.2371, 1.0137, 2.0173, 5.0119)
_RANGES: Final = ("45s", "1m", "100s", "5m", "8m")


@dataclass(frozen=True, slots=True)
class Written:
    """A series as promtool takes it: `hits_total{service="a"}` and its values."""

    name: str
    labels: tuple[tuple[str, str], ...]
    values: tuple[float | str, ...]  # "_" is a gap, "stale" an end

    @property
    def head(self) -> str:
        """Its name with labels."""
        return self.name + "{" + ",".join(f'{k}="{v}"' for k, v in self.labels) + "}"

    @property
    def text(self) -> str:
        """Its values in promtool's notation."""
        return " ".join(v if isinstance(v, str) else repr(v) for v in self.values)

    def series(self) -> Series:
        """As the evaluator reads it, beginning at 0."""
        found = Series(vectors.ordered(self.labels))
        for index, value in enumerate(self.values):
            if value != "_":
                found.times_ms.append(index * INTERVAL_S * 1000)
                found.values.append(0.0 if isinstance(value, str) else float(value))
        found.ends = frozenset(
            index * INTERVAL_S * 1000 for index, value in enumerate(self.values) if value == "stale"
        )
        return found


def database(written: Sequence[Written]) -> dict[str, list[Series]]:
    """The series by name."""
    found: dict[str, list[Series]] = {}
    for each in written:
        found.setdefault(each.name, []).append(each.series())
    return found


def series(chance: random.Random) -> list[Written]:
    """Counters with resets, gauges, a histogram; with gaps, ends, and late beginnings."""
    found = []
    for service in _SERVICES[: chance.randint(1, 3)]:
        found += [
            Written(
                "hits_total",
                (("outcome", outcome), ("service", service)),
                _thinned(chance, _counted(chance)),
            )
            for outcome in ("failed", "ok")
            if chance.random() > 0.1
        ]
        gauge = [float(chance.randint(-4, 12)) / 2 for _ in range(POINTS)]
        found.append(Written("depth", (("service", service),), _thinned(chance, gauge)))
        found += _histogram(chance, service)
    return found


def _counted(chance: random.Random) -> list[float]:
    total, values = float(chance.choice((0, 0, 3, 50))), []
    for _ in range(POINTS):
        total = 0.0 if chance.random() < 0.04 else total + chance.randint(0, 5)
        values.append(total)
    return values


def _histogram(chance: random.Random, service: str) -> list[Written]:
    counts = [0.0] * len(_BOUNDS)
    columns: list[list[float]] = [[] for _ in _BOUNDS]
    for _ in range(POINTS):
        grown = 0
        for index, column in enumerate(columns):
            grown += chance.randint(0, 3)
            counts[index] += grown
            column.append(counts[index])
    gaps = _gaps(chance)
    return [
        Written(
            "took_seconds_bucket",
            (("le", bound), ("service", service)),
            tuple("_" if at in gaps else value for at, value in enumerate(column)),
        )
        for bound, column in zip(_BOUNDS, columns, strict=True)
    ]


def _gaps(chance: random.Random) -> set[int]:
    gaps: set[int] = set()
    if chance.random() < 0.5:
        begin = chance.randrange(POINTS)
        gaps |= set(range(begin, begin + chance.choice((1, 3, 8, 25))))
    if chance.random() < 0.3:
        gaps |= {chance.randrange(POINTS) for _ in range(6)}
    return gaps


def _thinned(chance: random.Random, values: Sequence[float]) -> tuple[float | str, ...]:
    gaps = _gaps(chance)
    thinned: list[float | str] = ["_" if at in gaps else v for at, v in enumerate(values)]
    if chance.random() < 0.2:
        thinned[chance.randrange(POINTS)] = "stale"
    return tuple(thinned)


def expression(chance: random.Random, depth: int = 3) -> str:  # noqa: PLR0911 a line for each form
    """An expression of type vector."""
    if depth == 0 or chance.random() < 0.2:
        return _leaf(chance)
    inner = expression(chance, depth - 1)
    match chance.randrange(8):
        case 0 | 1:
            labels = chance.choice(("service", "service, outcome", "", "outcome"))
            modifier = chance.choice((f" by ({labels})", f" without ({labels})", ""))
            return f"{chance.choice(('sum', 'avg', 'max', 'min', 'count'))}{modifier} ({inner})"
        case 2 | 3:
            operation = chance.choice((">", "<", ">=", "<=", "==", "!=", "> bool", "< bool"))
            return f"({inner}) {operation} {chance.choice(_THRESHOLDS)}"
        case 4:
            number = chance.choice((2, -1, 0.5, 100))
            return f"({inner}) {chance.choice('+-*/^')} {number}"
        case 5:
            other = expression(chance, depth - 1)
            operation = chance.choice(("+", "-", "*", "/", ">", "<", ">= bool"))
            matching = chance.choice(("", " on (service)", " ignoring (outcome)"))
            grouping = (
                chance.choice(("", " group_left ()", " group_right (outcome)")) if matching else ""
            )
            return f"({inner}) {operation}{matching}{grouping} ({other})"
        case 6:
            other = expression(chance, depth - 1)
            matching = chance.choice(("", " on (service)", " ignoring (outcome)", " on ()"))
            return f"({inner}) {chance.choice(('and', 'or', 'unless'))}{matching} ({other})"
        case _:
            function = chance.choice(
                ("abs({})", "ceil({})", "floor({})", "clamp_max({}, 3)", "clamp_min({}, 1)",
                 "absent({})", "-({})", "vector(scalar({}))")
            )  # fmt: skip
            return str(function.format(inner))


def _leaf(chance: random.Random) -> str:
    service = chance.choice(("", '{service="a"}', '{service=~"a|b"}', '{service!="a"}'))
    offset = chance.choice(("", "", "", " offset 1m"))
    span = chance.choice(_RANGES)
    match chance.randrange(5):
        case 0:
            name = chance.choice(("depth", "hits_total", "missing"))
            return f"{name}{service}{offset}"
        case 1 | 2:
            function = chance.choice(("rate", "rate", "increase", "resets", "changes"))
            return f"{function}(hits_total{service}[{span}]{offset})"
        case 3:
            function = chance.choice(
                ("avg", "min", "max", "sum", "count", "last", "present", "delta")
            )
            called = function if function == "delta" else f"{function}_over_time"
            return f"{called}(depth{service}[{span}]{offset})"
        case _:
            q = chance.choice((0, 0.5, 0.95, 1))
            by = chance.choice(("service, le", "le"))
            return (
                f"histogram_quantile({q}, "
                f"sum by ({by}) (rate(took_seconds_bucket{service}[{span}]{offset})))"
            )
