"""Carries out what was decided of alerts: one move, one event, in the round's transaction.

Imported by `engine.control.alerts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from engine.control.alerts.decide import Begin, Found, Keep, Move, Step
from storage import alerts
from storage.alert_rule_versions import Versioned
from storage.store import Session

_log = structlog.get_logger("control.alerts")


async def carry_out(
    s: Session,
    steps: Sequence[Step],
    rules: Mapping[str, tuple[Versioned, Found]],
    *,
    clock_us: int,
    at_us: int,
) -> None:
    """Write the steps."""
    for step in steps:
        match step:
            case Begin():
                versioned, _ = rules[step.labels["alertname"]]
                await _begin(s, step, versioned, clock_us=clock_us, at_us=at_us)
            case Move():
                await alerts.move(
                    s, step.alert, step.to, why=step.why, at_us=at_us, value=step.value,
                    summary=step.summary,
                )  # fmt: skip
                _log.info(
                    "alert", state=step.to.value, why=step.why.name, alert=step.alert.id,
                    rule=step.alert.rule, about=step.alert.subject,
                )  # fmt: skip
            case Keep():
                await _keep(s, step)


async def _begin(
    s: Session, step: Begin, versioned: Versioned, *, clock_us: int, at_us: int
) -> None:
    rule = versioned.rule
    assert rule is not None  # noqa: S101 it was evaluated
    number = await alerts.begin(
        s, rule=rule.name, rule_version=versioned.version, labels=step.labels,
        severity=rule.severity, summary=step.summary, runbook=rule.runbook, state=step.state,
        value=step.value, clock_us=clock_us, at_us=at_us,
    )  # fmt: skip
    _log.info("alert", state=step.state.value, alert=number, rule=rule.name)


async def _keep(s: Session, step: Keep) -> None:
    alert = step.alert
    changed = (
        alert.value != step.value
        or alert.summary != step.summary
        or alert.unmet_clock_us != step.unmet_clock_us
        or alert.no_data_since_us != step.no_data_since_us
    )
    if changed:
        await alerts.refresh(
            s, alert, value=step.value, summary=step.summary, unmet_clock_us=step.unmet_clock_us,
            no_data_since_us=step.no_data_since_us,
        )  # fmt: skip
