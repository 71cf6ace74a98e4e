"""Decides how a rule's alerts move after one evaluation. Pure.

The states are Prometheus', and where data is complete so are the moves (its `rules/alerting.go` is
the reference; tests hold them against `promtool test rules`). Where data is missing they differ on
purpose: missing data never ends a firing alert. Imported by `engine.control.alerts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from engine.control.alerts import vectors
from engine.control.alerts.vectors import Labels, Vector
from storage import alert_rules, alert_texts
from storage.alert_rounds import Outcome
from storage.alert_rule_versions import Versioned
from storage.alert_rules import Rule
from storage.alerts import Alert, State, Why

MOST_ALERTS: Final = 100
"""Alerts that one rule may have; a rule that finds more is at fault."""

_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """What an evaluation found: elements that hold, those measured that do not, or a fault."""

    holds: Mapping[Labels, float] = field(default_factory=dict)
    unmet: frozenset[Labels] = frozenset()
    fault: str = ""

    @property
    def outcome(self) -> Outcome:
        """The result in one word."""
        if self.fault:
            return Outcome.ERROR
        return Outcome.MEASURED if self.holds or self.unmet else Outcome.NO_DATA


@dataclass(frozen=True, slots=True)
class Begin:
    """An alert begins."""

    labels: Mapping[str, str]
    state: State
    value: float
    summary: str


@dataclass(frozen=True, slots=True)
class Move:
    """An alert moves."""

    alert: Alert
    to: State
    why: Why
    value: float | None
    summary: str


@dataclass(frozen=True, slots=True)
class Keep:
    """An alert stays where it is; what was found of it is noted."""

    alert: Alert
    value: float | None
    summary: str
    unmet_clock_us: int | None = None
    no_data_since_us: int | None = None


Step = Begin | Move | Keep


def found(
    vector: Vector, samples: tuple[Vector, tuple[str, ...]] | None, least: int, *, rule: str
) -> Found:
    """What a vector means for a rule: elements that rest on too few samples are no data."""
    holds: dict[Labels, float] = {}
    unmet = set(map(vectors.nameless, vector.unmet))

    def enough(labels: Labels) -> bool:
        if samples is None:
            return True
        counted, by = samples
        return counted.values.get(vectors.only(labels, by), 0.0) >= least

    for labels, value in vector.values.items():
        bare = vectors.nameless(labels)
        if bare in holds:
            return Found(fault="two elements differ in the name of their metric only")
        holds[bare] = value
    if len(holds) > MOST_ALERTS:
        return Found(fault=f"{rule} holds for {len(holds)} elements; aggregate them")
    return Found(
        {labels: value for labels, value in holds.items() if enough(labels)},
        frozenset(labels for labels in unmet - holds.keys() if enough(labels)),
    )


def decide(
    versioned: Versioned,
    active: Sequence[Alert],
    seen: Found,
    *,
    clock_us: int,
    at_us: int,
    exists: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> list[Step]:
    """The steps of one rule's alerts, `clock_us` on the clock of evaluations.

    `exists` has, for a label that names something, what there is: an alert about a service that
    was removed ends, although a range of its series may hold the last hours of it.
    """
    rule = versioned.rule
    assert rule is not None  # noqa: S101 rules in force have one
    steps: list[Step] = []
    known: set[Labels] = set()
    own = rule.labels.keys() | {"alertname", "severity"}
    for alert in active:
        if alert.rule_version != versioned.version and not _goes_on(rule, alert):
            steps.append(_moved(alert, State.INACTIVE, Why.RULE_CHANGED))
            continue
        labels = vectors.ordered((k, v) for k, v in alert.labels.items() if k not in own)
        known.add(labels)
        if _gone(labels, exists):
            steps.append(_moved(alert, State.INACTIVE, Why.GONE))
            continue
        steps.append(_next(rule, alert, labels, seen, clock_us=clock_us, at_us=at_us))
    for labels, value in seen.holds.items():
        if labels in known or _gone(labels, exists):
            continue
        named = alert_rules.labels_of(rule, dict(labels))
        state = State.PENDING if rule.for_s else State.FIRING
        steps.append(Begin(named, state, value, alert_texts.fill(rule.summary, named, value)))
    return steps


def _gone(labels: Labels, exists: Mapping[str, frozenset[str]]) -> bool:
    """Whether what the labels name was removed."""
    return any(value not in exists.get(name, {value}) for name, value in labels)


def _goes_on(rule: Rule, alert: Alert) -> bool:
    """Whether an alert of another version is about the same: its labels are the rule's."""
    expected = alert_rules.labels_of(rule, {})
    return all(alert.labels.get(name) == value for name, value in expected.items())


def _next(
    rule: Rule, alert: Alert, labels: Labels, seen: Found, *, clock_us: int, at_us: int
) -> Step:
    """The step of one alert: a move, or what was found while it stays."""
    firing = alert.state is State.FIRING
    if labels in seen.holds:
        value = seen.holds[labels]
        summary = alert_texts.fill(rule.summary, alert.labels, value)
        if not firing and clock_us - alert.began_clock_us >= rule.for_s * _US:
            return Move(alert, State.FIRING, Why.HELD, value, summary)
        return Keep(alert, value, summary)
    if labels in seen.unmet:
        since = clock_us if alert.unmet_clock_us is None else alert.unmet_clock_us
        if not firing or clock_us - since >= rule.keep_firing_for_s * _US:
            return _moved(alert, State.INACTIVE, Why.UNMET)
        return Keep(alert, alert.value, alert.summary, unmet_clock_us=since)
    if firing or seen.fault:
        return Keep(
            alert,
            alert.value,
            alert.summary,
            unmet_clock_us=alert.unmet_clock_us,
            no_data_since_us=alert.no_data_since_us or at_us,
        )
    return _moved(alert, State.INACTIVE, Why.NO_DATA)


def orphaned(active: Sequence[Alert], rules: Mapping[str, Versioned]) -> list[Step]:
    """The ends of alerts whose rules are no longer in force."""
    return [
        _moved(alert, State.INACTIVE, Why.RULE_REMOVED)
        for alert in active
        if alert.rule not in rules
    ]


def _moved(alert: Alert, to: State, why: Why) -> Move:
    return Move(alert, to, why, None, alert.summary)
