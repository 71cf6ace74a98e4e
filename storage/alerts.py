"""Alerts: what is wrong by a rule, since when, and who has acknowledged it.

An alert is one element of a rule's expression from its first holding to its end; when the
expression holds again, that is another alert. Its moves have events (`storage.alert_events`) and no
entries in the ledger, which keeps what people change for good: a value that swings around a bound
would fill it. What people do to an alert is in both. Durations of rules are counted on the clock of
evaluations (`storage.alert_rounds`), which neither jumps nor runs while control is away. Written by
control, read by every package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import alert_events, errors, ledger
from storage.alert_events import EventRow
from storage.alert_rows import (
    Alert,
    AlertRow,
    active,
    during,
    ended,
    find,
    fingerprint,
    of_ids,
)
from storage.alert_rules import Severity
from storage.alert_states import MOVES, State, Why

__all__ = [
    "MOVES", "Alert", "AlertRow", "Severity", "State", "Why", "acknowledge", "active", "begin",
    "close", "during", "ended", "find", "fingerprint", "move", "of_ids", "prune", "refresh",
    "unacknowledge",
]  # fmt: skip

CONTROL: Final = "control"


async def begin(
    s: AsyncSession,
    *,
    rule: str,
    rule_version: int,
    labels: Mapping[str, str],
    severity: Severity,
    summary: str,
    runbook: str | None,
    state: State,
    value: float,
    clock_us: int,
    at_us: int,
) -> int:
    """Record an alert that begins, as pending or at once as firing; its id."""
    if state not in MOVES.begins:
        raise errors.Invalid(f"An alert cannot begin as {state}.")
    row = AlertRow(
        rule=rule,
        rule_version=rule_version,
        fingerprint=fingerprint(labels),
        labels=msgspec.json.encode(dict(labels)).decode(),
        severity=severity.value,
        summary=summary,
        runbook=runbook,
        state=state.value,
        why=Why.HOLDS.name,
        value=value,
        began_at_us=at_us,
        began_clock_us=clock_us,
        fired_at_us=at_us if state is State.FIRING else None,
    )
    s.add(row)
    await s.flush()
    await alert_events.add(
        s, alert_id=row.id or 0, at_us=at_us, before=None, after=state, why=Why.HOLDS,
        sentence=summary, value=value, actor=CONTROL, intent_id=None,
    )  # fmt: skip
    return row.id or 0


async def move(
    s: AsyncSession,
    alert: Alert,
    to: State,
    *,
    why: Why,
    at_us: int,
    summary: str | None = None,
    value: float | None = None,
    actor: str = CONTROL,
    intent_id: int | None = None,
) -> None:
    """Move an alert to a state, with its event.

    Raises:
        Invalid: the move is not legal. Moved: the alert is in another state by now.
    """
    if not MOVES.allows(alert.state, to):
        raise errors.Invalid(f"An alert that is {alert.state} cannot become {to}.")
    changes: dict[str, Any] = {"state": to.value, "why": why.name, "no_data_since_us": None}
    changes |= {} if value is None else {"value": value}
    changes |= {} if summary is None else {"summary": summary}
    changes |= {"fired_at_us": at_us} if to is State.FIRING else {"ended_at_us": at_us}
    result = cast(
        "CursorResult[Any]",
        await s.execute(
            update(AlertRow)
            .where(col(AlertRow.id) == alert.id, col(AlertRow.state) == alert.state.value)
            .values(changes)
        ),
    )
    if result.rowcount != 1:
        raise errors.Moved(f"Alert {alert.id} changed since you looked; look again.")
    await alert_events.add(
        s, alert_id=alert.id, at_us=at_us, before=alert.state, after=to, why=why,
        sentence=summary or alert.summary, value=value, actor=actor, intent_id=intent_id,
    )  # fmt: skip


async def refresh(
    s: AsyncSession,
    alert: Alert,
    *,
    value: float | None,
    summary: str,
    unmet_clock_us: int | None,
    no_data_since_us: int | None,
) -> None:
    """Note what an evaluation found of an alert that does not move."""
    await s.execute(
        update(AlertRow)
        .where(col(AlertRow.id) == alert.id)
        .values(
            value=value,
            summary=summary,
            unmet_clock_us=unmet_clock_us,
            no_data_since_us=no_data_since_us,
        )
    )


async def acknowledge(
    s: AsyncSession, alert_id: int, *, reason: str, actor: str, at_us: int, intent_id: int | None
) -> Alert:
    """Note that a person has seen a firing alert and acts; it ends with the alert.

    Raises:
        NotFound: there is no such alert. Invalid: it does not fire.
    """
    alert = await _firing(s, alert_id)
    await s.execute(
        update(AlertRow)
        .where(col(AlertRow.id) == alert_id)
        .values(acknowledged_at_us=at_us, acknowledged_by=actor, acknowledged_reason=reason)
    )
    await ledger.write(
        s, actor=actor, verb="alerts.ack", noun="alert", key=str(alert_id),
        before=alert.acknowledged_by, after=actor, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return alert


async def unacknowledge(
    s: AsyncSession, alert_id: int, *, actor: str, at_us: int, intent_id: int | None
) -> Alert:
    """Take an acknowledgement back: notifications are sent again.

    Raises:
        NotFound: there is no such alert. Invalid: it does not fire, or is not acknowledged.
    """
    alert = await _firing(s, alert_id)
    if alert.acknowledged_by is None:
        raise errors.Invalid(f"Alert {alert_id} is not acknowledged; there is nothing to undo.")
    await s.execute(
        update(AlertRow)
        .where(col(AlertRow.id) == alert_id)
        .values(acknowledged_at_us=None, acknowledged_by=None, acknowledged_reason=None)
    )
    await ledger.write(
        s, actor=actor, verb="alerts.unack", noun="alert", key=str(alert_id),
        before=alert.acknowledged_by, after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return alert


async def close(
    s: AsyncSession, alert_id: int, *, actor: str, at_us: int, intent_id: int | None
) -> Alert:
    """End a firing alert by hand, as one of a service that is gone and is never measured again.

    While the expression holds, the next evaluation begins another.

    Raises:
        NotFound: there is no such alert. Invalid: it does not fire.
    """
    alert = await _firing(s, alert_id)
    await move(
        s, alert, State.INACTIVE, why=Why.CLOSED, at_us=at_us, actor=actor, intent_id=intent_id
    )
    await ledger.write(
        s, actor=actor, verb="alerts.close", noun="alert", key=str(alert_id),
        before=alert.state.value, after=State.INACTIVE.value, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return alert


async def _firing(s: AsyncSession, alert_id: int) -> Alert:
    alert = await find(s, alert_id)
    if alert.state is not State.FIRING:
        raise errors.Invalid(f"Alert {alert_id} ({alert.rule}) is {alert.state}, not firing.")
    return alert


async def prune(s: AsyncSession, before_us: int, pending_before_us: int, limit: int = 2_000) -> int:
    """Delete alerts that ended before a time, those that never fired before another; how many."""
    at = col(AlertRow.ended_at_us)
    old = (
        select(col(AlertRow.id))
        .where(
            at.is_not(None),
            (at < before_us) | ((at < pending_before_us) & col(AlertRow.fired_at_us).is_(None)),
        )
        .limit(limit)
    )
    ids = list((await s.execute(old)).scalars())
    if ids:
        await s.execute(delete(EventRow).where(col(EventRow.alert_id).in_(ids)))
        await s.execute(delete(AlertRow).where(col(AlertRow.id).in_(ids)))
    return len(ids)
