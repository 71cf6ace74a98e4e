"""The events of incidents: what people noted and what machines recorded, never changed or deleted.

Written by `storage.incidents` alone. Read by every package.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.incident_states import Kind


class EventRow(SQLModel, table=True):
    """An event as it is stored."""

    __tablename__: ClassVar[str] = "incident_events"

    id: int | None = Field(default=None, primary_key=True)
    incident_id: int
    at_us: int
    recorded_at_us: int
    kind: str
    sentence: str
    actor: str
    intent_id: int | None
    entry_id: int | None


class IncidentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `at_us` is when it happened, which may be before it was recorded.

    `entry_id` is the ledger entry of a linked change.
    """

    id: int
    incident_id: int
    at_us: int
    recorded_at_us: int
    kind: Kind
    sentence: str
    actor: str
    intent_id: int | None = None
    entry_id: int | None = None


async def add(
    s: AsyncSession,
    incident_id: int,
    kind: Kind,
    sentence: str,
    *,
    actor: str,
    at_us: int,
    recorded_at_us: int | None = None,
    intent_id: int | None = None,
    entry_id: int | None = None,
) -> None:
    """Add an event; it is recorded when it happens unless `recorded_at_us` says otherwise."""
    s.add(
        EventRow(
            incident_id=incident_id,
            at_us=at_us,
            recorded_at_us=at_us if recorded_at_us is None else recorded_at_us,
            kind=kind.value,
            sentence=sentence,
            actor=actor,
            intent_id=intent_id,
            entry_id=entry_id,
        )
    )
    await s.flush()


async def of(s: AsyncSession, incident_id: int) -> list[IncidentEvent]:
    """The events of an incident, in the order in which they happened."""
    query = select(EventRow).where(col(EventRow.incident_id) == incident_id)
    rows = await s.scalars(query.order_by(col(EventRow.at_us), col(EventRow.id)))
    return [msgspec.convert(row, IncidentEvent, from_attributes=True) for row in rows]


async def count(s: AsyncSession, incident_id: int) -> int:
    """How many events an incident has."""
    query = select(func.count()).where(col(EventRow.incident_id) == incident_id)
    return int((await s.execute(query)).scalar_one())
