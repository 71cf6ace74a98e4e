"""Alert rules: what one is, and whether it makes sense.

A rule is data: an expression over exported series, how long it has to hold, and its
summary. `storage.alert_rule_files` reads and writes them as files, `storage.alert_rule_versions`
keeps those that people set. Pure. Imported by every package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from storage import alert_expressions, alert_texts, errors, exported_series, names
from storage.alert_expressions import Aggregate, Node

MOST_RULES: Final = 200
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED: Final = frozenset({"alertname", "severity", "__name__"})

Seconds = Annotated[int, Meta(ge=0, le=7 * 24 * 3600)]
Expression = Annotated[str, Meta(min_length=1, max_length=alert_expressions.MOST_CHARACTERS)]


class Severity(StrEnum):
    """How bad it is when the alert fires."""

    CRITICAL = "critical"  # act now
    WARNING = "warning"  # look today
    INFO = "info"  # for information


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule, as Prometheus has them, and what Prometheus lacks.

    An element of `expression` that is there for `for_s` fires, and keeps firing until it has been
    away for `keep_firing_for_s`. `samples` counts what the expression rests on; an element with
    fewer than `min_samples` is no data, which neither fires nor resolves. `runbook` names one of
    `paddock runbooks list`.
    """

    name: Annotated[str, Meta(pattern=rf"^{names.PATTERN}\Z")]
    expression: Expression
    for_s: Seconds = 0
    keep_firing_for_s: Seconds = 0
    samples: Expression | None = None
    min_samples: Annotated[int, Meta(ge=0, le=10**9)] = 0
    severity: Severity = Severity.WARNING
    labels: dict[str, str] = {}
    summary: Annotated[str, Meta(min_length=1, max_length=500)]
    runbook: Annotated[str, Meta(pattern=rf"^{names.PATTERN}\Z")] | None = None


class BadRule(errors.Invalid):
    """A rule cannot be used; `field` is what is wrong with it."""

    def __init__(self, rule: str, field: str, why: str) -> None:
        super().__init__(f"{rule}: {field}: {why}.")
        self.field = field
        self.why = why


def check(rule: Rule) -> None:
    """Prove that a rule can be evaluated.

    Raises:
        BadRule: its expression is not in the subset, asks for a series or a label that there is
            not, divides by zero, or the rest of it does not fit.
    """
    expression_of(rule)
    samples_of(rule)
    for label in rule.labels:
        if not _LABEL.fullmatch(label) or label in _RESERVED:
            raise BadRule(rule.name, "labels", f"{label!r} cannot be the name of a label")
    try:
        alert_texts.check(rule.summary)
    except errors.Invalid as error:
        raise BadRule(rule.name, "summary", str(error)) from error


def expression_of(rule: Rule) -> Node:
    """The tree of the expression.

    Raises:
        BadRule: as `check`.
    """
    return _parsed(rule.name, "expr", rule.expression)


def samples_of(rule: Rule) -> tuple[Node, tuple[str, ...]] | None:
    """The tree of `samples`, and the labels by which it counts; None without one.

    Raises:
        BadRule: as `check`.
    """
    if rule.samples is None:
        if rule.min_samples:
            raise BadRule(rule.name, "min_samples", "say with `samples` what is counted")
        return None
    node = _parsed(rule.name, "samples", rule.samples)
    if not isinstance(node, Aggregate) or node.without:
        raise BadRule(
            rule.name, "samples", "it begins with an aggregation, as in sum by (service) (…)"
        )
    return node, node.labels


def _parsed(rule: str, field: str, text: str) -> Node:
    try:
        node = alert_expressions.parse(text)
    except errors.Invalid as error:
        raise BadRule(rule, field, str(error)) from error
    if isinstance(node, alert_expressions.Selector) and node.range_s is not None:
        raise BadRule(rule, field, "a range is not a value; use a function over it")
    found = list(alert_expressions.selectors(node))
    if not found:
        raise BadRule(rule, field, "it asks for no series, so it is always the same")
    for selector in found:
        known = exported_series.SERIES.get(selector.name)
        if known is None:
            raise BadRule(rule, field, _unknown(selector.name))
        for matcher in selector.matchers:
            if matcher.label not in known:
                has = ", ".join(known) or "no labels"
                raise BadRule(rule, field, f"{selector.name} has no label {matcher.label}: {has}")
    return node


def _unknown(name: str) -> str:
    """There is no such series; those whose names share a word with it."""
    words = set(name.split("_")) - {"paddock", "total", "seconds"}
    near = [each for each in exported_series.SERIES if words & set(each.split("_"))]
    like = f"; there is {', '.join(sorted(near)[:6])}" if near else ""
    return f"there is no series {name}{like}. `paddock alerts series` lists them"


def labels_of(rule: Rule, found: Mapping[str, str]) -> dict[str, str]:
    """The labels of an alert: of the element, of the rule, its name and its severity."""
    return {**found, **rule.labels, "alertname": rule.name, "severity": rule.severity.value}
