"""The alerts that were pending or firing at a past moment, and the silences in force then.

Alerts that ended are deleted after a month, those that never fired after a day: what was deleted is
not known any more. Imported by `app`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import alerts, errors, incident_alerts, ledger, silences
from storage.alert_events import EventRow
from storage.alerts import Alert, AlertRow, Severity, State, Why
from storage.past import entries
from storage.silences import Silence, SilenceRow

_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}


async def find(s: AsyncSession, id: int, at_us: int) -> Alert:
    """One alert by its number, active or ended by then.

    Raises:
        NotFound: there is no such alert, or it was not pending yet.
    """
    known = await alerts.find(s, id)
    if known.began_at_us > at_us:
        raise errors.NotFound(f"Alert {id} was not pending or firing yet.")
    for each in await active(s, at_us):
        if each.id == id:
            return each
    return known


async def joined(s: AsyncSession, id: int, at_us: int) -> int | None:
    """The incident that an alert had joined, if it had."""
    number = (await incident_alerts.joined(s, [id])).get(id)
    if number is None:
        return None
    known = await incident_alerts.of(s, number)
    return number if any(e.alert_id == id and e.joined_at_us <= at_us for e in known) else None


async def active(s: AsyncSession, at_us: int) -> list[Alert]:
    """The pending and firing alerts: firing first, the worst first, then the oldest.

    The value and the summary are those of its last move until then.
    """
    ended = col(AlertRow.ended_at_us)
    query = select(col(AlertRow.id)).where(
        col(AlertRow.began_at_us) <= at_us, or_(ended.is_(None), ended > at_us)
    )
    known = await alerts.of_ids(s, [id for id in await s.scalars(query) if id is not None])
    newest = (
        select(func.max(col(EventRow.id)))
        .where(col(EventRow.alert_id).in_(known), col(EventRow.at_us) <= at_us)
        .group_by(col(EventRow.alert_id))
    )
    moved = {
        row.alert_id: row
        for row in await s.scalars(select(EventRow).where(col(EventRow.id).in_(newest)))
    }
    acked = {
        int(entry.key): entry
        for entry in await entries.last(
            s, "alert", at_us, verbs=["alerts.ack", "alerts.unack"], keys=[str(id) for id in known]
        )
    }
    why = await ledger.reasons(s, acked.values())
    found = [
        _then(known[id], row, acked.get(id), why)
        for id, row in moved.items()
        if row.after != State.INACTIVE.value
    ]
    return sorted(
        found, key=lambda each: (each.state is not State.FIRING, _ORDER[each.severity], each.id)
    )


async def silenced(s: AsyncSession, at_us: int) -> list[Silence]:
    """The silences in force, the next end first."""
    return [each for each in await silences_of(s, at_us) if each.starts_at_us <= at_us]


async def silences_of(s: AsyncSession, at_us: int) -> list[Silence]:
    """The silences and maintenance windows in force or to come, the next end first."""
    ended = col(SilenceRow.ended_at_us)
    query = select(SilenceRow).where(
        col(SilenceRow.created_at_us) <= at_us,
        col(SilenceRow.ends_at_us) > at_us,
        or_(ended.is_(None), ended > at_us),
    )
    rows = await s.scalars(query.order_by(col(SilenceRow.ends_at_us), col(SilenceRow.id)))
    return [
        msgspec.structs.replace(silences.record(row), ended_at_us=None, ended_by=None)
        for row in rows
    ]


def _then(alert: Alert, moved: EventRow, acked: ledger.Entry | None, why: dict[int, str]) -> Alert:
    fired = moved.at_us if moved.after == State.FIRING.value else None
    seen = acked if acked is not None and acked.after is not None else None
    return msgspec.structs.replace(
        alert,
        state=State(moved.after),
        why=Why[moved.why],
        summary=moved.sentence,
        value=moved.value,
        fired_at_us=fired,
        unmet_clock_us=None,
        no_data_since_us=None,
        ended_at_us=None,
        acknowledged_at_us=None if seen is None else seen.at_us,
        acknowledged_by=None if seen is None else str(seen.after),
        acknowledged_reason=None if seen is None else why.get(seen.intent_id or 0),
    )
