"""The events of alerts: one for each move, in the transaction of the move.

Incidents follow them by `since`. Written by `storage.alerts` alone and never changed; deleted with
the alert. Read by every package.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.alert_states import State, Why


class EventRow(SQLModel, table=True):
    """An event as it is stored."""

    __tablename__: ClassVar[str] = "alert_events"

    id: int | None = Field(default=None, primary_key=True)
    alert_id: int
    at_us: int
    before: str | None
    after: str
    why: str
    sentence: str
    value: float | None
    actor: str
    intent_id: int | None


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One move: from which state (None: it began) to which, and why."""

    id: int
    alert_id: int
    at_us: int
    before: State | None
    after: State
    why: Why
    sentence: str
    value: float | None
    actor: str
    intent_id: int | None


async def add(
    s: AsyncSession,
    *,
    alert_id: int,
    at_us: int,
    before: State | None,
    after: State,
    why: Why,
    sentence: str,
    value: float | None,
    actor: str,
    intent_id: int | None,
) -> None:
    """Add the event of a move."""
    s.add(
        EventRow(
            alert_id=alert_id,
            at_us=at_us,
            before=None if before is None else before.value,
            after=after.value,
            why=why.name,
            sentence=sentence,
            value=value,
            actor=actor,
            intent_id=intent_id,
        )
    )
    await s.flush()


async def of(s: AsyncSession, alert_id: int) -> list[AlertEvent]:
    """The moves of an alert, oldest first."""
    query = select(EventRow).where(col(EventRow.alert_id) == alert_id).order_by(col(EventRow.id))
    return [_event(row) for row in await s.scalars(query)]


async def since(s: AsyncSession, event_id: int, limit: int = 1_000) -> list[AlertEvent]:
    """The moves after an event, oldest first; 0 for all of them. A reader keeps the last id."""
    query = (
        select(EventRow).where(col(EventRow.id) > event_id).order_by(col(EventRow.id)).limit(limit)
    )
    return [_event(row) for row in await s.scalars(query)]


async def newest(s: AsyncSession) -> int:
    """The id of the newest event; 0 without one."""
    return (await s.execute(select(func.max(col(EventRow.id))))).scalar() or 0


def _event(row: EventRow) -> AlertEvent:
    return AlertEvent(
        id=row.id or 0,
        alert_id=row.alert_id,
        at_us=row.at_us,
        before=None if row.before is None else State(row.before),
        after=State(row.after),
        why=Why[row.why],
        sentence=row.sentence,
        value=row.value,
        actor=row.actor,
        intent_id=row.intent_id,
    )
