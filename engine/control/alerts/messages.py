"""The messages about groups of alerts: Alertmanager's JSON, version 4, and text for people. Pure.

Imported by `engine.control.alerts.notify`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from engine.control.alerts.routing import Notice
from storage.alerts import Alert, Severity

VERSION: Final = "4"
MOST: Final = 50
"""Alerts of one message; those left out are counted in `truncatedAlerts`."""

_NEVER: Final = "0001-01-01T00:00:00Z"


def body(notice: Notice) -> dict[str, Any]:
    """What a receiver of Alertmanager's webhooks reads."""
    shown = [(alert, True) for alert in notice.firing]
    shown += [(alert, False) for alert in notice.resolved]
    alerts = [_alert(alert, firing=firing) for alert, firing in shown[:MOST]]
    return {
        "version": VERSION,
        "groupKey": f"{{}}:{_matched(notice.labels)}",
        "truncatedAlerts": max(len(shown) - MOST, 0),
        "status": status(notice),
        "receiver": notice.receiver.name,
        "groupLabels": {k: v for k, v in notice.labels.items() if v},
        "commonLabels": _shared([alert.labels for alert, _ in shown]),
        "commonAnnotations": _shared([_annotations(alert) for alert, _ in shown]),
        "externalURL": "",
        "alerts": alerts,
    }


def status(notice: Notice) -> str:
    """Firing while one of them fires."""
    return "firing" if notice.firing else "resolved"


def title(notice: Notice, host: str) -> str:
    """One line: [FIRING 2] latency-p95 support on box01 (warning)."""
    alerts = notice.firing or notice.resolved
    number = f" {len(alerts)}" if len(alerts) > 1 else ""
    worst = min(alerts, key=lambda each: list(Severity).index(each.severity))
    grouped = " ".join(value for value in notice.labels.values() if value)
    subject = grouped if number and grouped else f"{worst.rule} {worst.subject}".strip()
    return f"[{status(notice).upper()}{number}] {subject} on {host} ({worst.severity.value})"


def text(notice: Notice) -> str:
    """A line for each alert, with what to do."""
    lines = []
    for alert in notice.firing[:MOST]:
        runbook = f" Runbook: {alert.runbook}." if alert.runbook else ""
        lines.append(f"{_plain(alert.summary)} (alert {alert.id}).{runbook}")
    lines += [
        f"Resolved: {_plain(alert.summary)} (alert {alert.id})." for alert in notice.resolved[:MOST]
    ]
    return "\n".join(lines)


def tested(receiver: str, host: str, *, at_us: int) -> tuple[dict[str, Any], str, str]:
    """The message of `test-notify`: body, title, text."""
    said = f"A test of the receiver {receiver} of {host}; nothing is wrong."
    labels = {"alertname": "test", "severity": "info"}
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": said},
        "startsAt": _time(at_us),
        "endsAt": _NEVER,
        "generatorURL": "",
        "fingerprint": "0" * 16,
    }
    document = {
        "version": VERSION, "groupKey": "{}:{test}", "truncatedAlerts": 0, "status": "firing",
        "receiver": receiver, "groupLabels": {}, "commonLabels": labels,
        "commonAnnotations": {"summary": said}, "externalURL": "", "alerts": [alert],
    }  # fmt: skip
    return document, f"[TEST] {receiver} of {host}", said


def _alert(alert: Alert, *, firing: bool) -> dict[str, Any]:
    return {
        "status": "firing" if firing else "resolved",
        "labels": alert.labels,
        "annotations": _annotations(alert),
        "startsAt": _time(alert.fired_at_us or alert.began_at_us),
        "endsAt": _NEVER if firing else _time(alert.ended_at_us or 0),
        "generatorURL": "",
        "fingerprint": alert.fingerprint,
    }


def _annotations(alert: Alert) -> dict[str, str]:
    found = {"summary": alert.summary}
    return found | ({"runbook": alert.runbook} if alert.runbook else {})


def _shared(each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The labels that all of them share."""
    if not each:
        return {}
    first, *others = each
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}


def _matched(labels: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{k}={msgspec.json.encode(v).decode()}" for k, v in labels.items() if v)
    return f"{{{pairs}}}"


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _plain(summary: str) -> str:
    """A summary as part of one line: labels may hold anything."""
    line = "".join(each if each.isprintable() else " " for each in summary)
    return " ".join(line.split()).rstrip(".")
