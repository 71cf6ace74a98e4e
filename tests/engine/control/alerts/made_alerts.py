"""Alerts as a test needs them, without a store.

Imported by tests.
"""

from __future__ import annotations

from typing import Any, Final

from storage.alert_rules import Severity
from storage.alerts import Alert, State, Why, fingerprint

_US: Final = 1_000_000


def made(id: int, labels: Any, state: State, *, began_s: int = 0, rule: str = "slow") -> Alert:
    """An alert, which began so many seconds after the start."""
    return Alert(
        id=id, rule=rule, rule_version=1, fingerprint=fingerprint(labels), labels=dict(labels),
        severity=Severity.WARNING, summary="x", runbook=None, state=state, why=Why.HOLDS,
        value=1.0, began_at_us=began_s * _US, began_clock_us=began_s * _US, fired_at_us=None,
        unmet_clock_us=None, no_data_since_us=None, ended_at_us=None, acknowledged_at_us=None,
        acknowledged_by=None, acknowledged_reason=None,
    )  # fmt: skip


def changed(alert: Alert, **fields: Any) -> Alert:
    """An alert with other fields."""
    kept = {name: getattr(alert, name) for name in Alert.__struct_fields__}
    return Alert(**{**kept, **fields})
