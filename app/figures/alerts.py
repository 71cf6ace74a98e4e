"""Alerts as they are shown: in the first row, in `paddock status`, in lists. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app import words
from app.figures.facts import Facts
from app.snapshot import Trouble
from storage.alerts import Alert, Severity, State


def firing(active: Sequence[Alert]) -> list[Alert]:
    """Those that fire and that nobody has acknowledged, the worst first."""
    return [each for each in active if each.state is State.FIRING and not each.acknowledged_by]


def critical(facts: Facts) -> Iterator[Trouble]:
    """Critical alerts that nobody has acknowledged."""
    return _troubles(facts, Severity.CRITICAL)


def warnings(facts: Facts) -> Iterator[Trouble]:
    """Warnings that nobody has acknowledged; what is for information is no trouble."""
    return _troubles(facts, Severity.WARNING)


def _troubles(facts: Facts, severity: Severity) -> Iterator[Trouble]:
    for alert in firing(facts.alerts) if facts.node.runs else ():
        if alert.severity is severity:
            yield Trouble(brief=brief(alert), sentence=sentence(alert, facts.now_us))


def brief(alert: Alert) -> str:
    """A few words: latency-p95 support."""
    return f"{alert.rule} {alert.subject}".strip()


def sentence(alert: Alert, now_us: int) -> str:
    """What is wrong, since when, and where to go on."""
    since = words.age(max(now_us - (alert.fired_at_us or alert.began_at_us), 0))
    lost = ", no data now" if alert.no_data_since_us is not None else ""
    runbook = f"; runbook {alert.runbook}" if alert.runbook else ""
    return f"{alert.summary.rstrip('.')} (alert {alert.id} for {since}{lost}{runbook})."


def status(alert: Alert) -> str:
    """Its state, with what people and data say of it."""
    if alert.state is State.INACTIVE:
        return f"ended, {alert.why.value}"
    parts = [alert.state.value]
    if alert.acknowledged_by is not None:
        parts.append(f"acknowledged by {alert.acknowledged_by}")
    if alert.no_data_since_us is not None:
        parts.append("no data")
    elif alert.unmet_clock_us is not None:
        parts.append("ending")
    return ", ".join(parts)


def since(alert: Alert) -> int:
    """When it fired, else when it began (UTC microseconds)."""
    return alert.fired_at_us or alert.began_at_us


def value(alert: Alert) -> str:
    """The last value that was measured."""
    return words.UNKNOWN if alert.value is None else f"{alert.value:.4g}"
