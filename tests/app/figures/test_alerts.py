"""Alerts in the first row and in the status: which are named, and what is said of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from app.figures import alerts as figures
from app.figures.facts import Facts
from app.snapshot import Node
from storage.alert_muting import Mute, Muted
from storage.alert_rounds import Round
from storage.alerts import Alert, Severity, State, Why
from storage.notifications import Backlog
from storage.processes import NodeRun
from tests.app import populated_homes, store_facts

NOW_US: Final = populated_homes.NOW_US
MINUTE_US: Final = 60_000_000


def alert(id: int = 1, severity: Severity = Severity.WARNING, **changes: Any) -> Alert:
    """One that has fired for a minute."""
    labels = {"alertname": "latency-p95", "severity": severity.value, "service": "support"}
    fires = Alert(
        id=id, rule="latency-p95", rule_version=0, fingerprint="f", labels=labels,
        severity=severity, summary="The p95 latency of support is 2.4s.", runbook="high-latency",
        state=State.FIRING, why=Why.HELD, value=2.4, began_at_us=NOW_US - 2 * MINUTE_US,
        began_clock_us=0, fired_at_us=NOW_US - MINUTE_US, unmet_clock_us=None,
        no_data_since_us=None, ended_at_us=None, acknowledged_at_us=None, acknowledged_by=None,
        acknowledged_reason=None,
    )  # fmt: skip
    return msgspec.structs.replace(fires, **changes)


def facts(*alerts: Alert, node: Node = Node.UP, **fields: Any) -> Facts:
    """A box with these alerts."""
    found = store_facts.facts(node, records={})
    found.alerts = alerts
    found.run = NodeRun(pid=1, started_at_us=0, host="h", version="1", stopped_at_us=None)
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def test_what_fires_is_named_with_its_runbook_by_severity() -> None:
    """Critical ones come before the traffic's own troubles, warnings after; info is none."""
    box = facts(alert(1), alert(2, Severity.CRITICAL, labels={}), alert(3, Severity.INFO))
    (warning,) = figures.warnings(box)
    assert warning.brief == "latency-p95 support"
    assert warning.sentence == (
        "The p95 latency of support is 2.4s (alert 1 for 1 min; runbook high-latency)."
    )
    assert [each.brief for each in figures.critical(box)] == ["latency-p95"]


def test_what_is_pending_muted_or_of_a_stopped_node_is_not_named() -> None:
    """Somebody knows, or nobody can say."""
    for box in (
        facts(alert(state=State.PENDING)),
        facts(alert(acknowledged_by="kim")),
        facts(alert(1, Severity.CRITICAL), alert(2)),
        facts(alert(), node=Node.DOWN),
    ):
        assert list(figures.warnings(box)) == []


def test_an_alert_without_data_says_so() -> None:
    """It fires on because nothing is measured."""
    (found,) = figures.warnings(facts(alert(no_data_since_us=NOW_US)))
    assert "no data now" in found.sentence
    assert figures.status(alert(no_data_since_us=1)) == "firing, no data"
    assert figures.status(alert(unmet_clock_us=1)) == "firing, ending"
    muted = Muted(mute=Mute.SILENCED, by="silence 3")
    assert figures.status(alert(), muted) == "firing, silenced by silence 3"


def test_receivers_that_are_not_told_for_ten_minutes_are_named() -> None:
    """With the reason that their server gives."""
    late = Backlog(waiting=2, oldest_us=NOW_US - 10 * MINUTE_US, error="it answered 503")
    young = Backlog(waiting=1, oldest_us=NOW_US - MINUTE_US, error=None)
    box = facts(undelivered={"ops": late, "chat": young})
    (found,) = figures.undelivered(box)
    assert found.brief == "ops unreachable"
    assert "2 notifications for ops not delivered for 10 min: it answered 503" in found.sentence


def test_rules_that_are_not_evaluated_are_named() -> None:
    """A box whose alerting has stopped looks well."""
    late = Round(clock_us=1, at_us=NOW_US - 3 * MINUTE_US, instant_s=1)
    (found,) = figures.unevaluated(facts(alert_round=late))
    assert found.brief == "alerts 3 min old"
    fresh = msgspec.structs.replace(late, at_us=NOW_US)
    box = facts(alert_round=fresh, alert_faults={"bad": "two series."})
    (found,) = figures.unevaluated(box)
    assert found.sentence == "The alert rule bad cannot be evaluated: two series."
