"""Which alerts joined which incident, and when each of them ended.

An alert joins one incident at most. Written by `engine.control.incidents`, read by every package.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col


class JoinRow(SQLModel, table=True):
    """An alert of an incident as it is stored."""

    __tablename__: ClassVar[str] = "incident_alerts"

    alert_id: int = Field(primary_key=True)
    incident_id: int
    rule: str
    joined_at_us: int
    ended_at_us: int | None


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of an incident; `ended_at_us` is None while it fires."""

    alert_id: int
    incident_id: int
    rule: str
    joined_at_us: int
    ended_at_us: int | None = None


async def join(s: AsyncSession, incident_id: int, *, alert_id: int, rule: str, at_us: int) -> None:
    """An alert joins an incident."""
    s.add(
        JoinRow(
            alert_id=alert_id, incident_id=incident_id, rule=rule, joined_at_us=at_us,
            ended_at_us=None,
        )
    )  # fmt: skip
    await s.flush()


async def end(s: AsyncSession, alert_id: int, at_us: int) -> None:
    """An alert that joined an incident has ended."""
    query = update(JoinRow).where(col(JoinRow.alert_id) == alert_id)
    await s.execute(query.values(ended_at_us=at_us))


async def of(s: AsyncSession, incident_id: int) -> list[Joined]:
    """The alerts of an incident, in the order in which they joined."""
    query = select(JoinRow).where(col(JoinRow.incident_id) == incident_id)
    rows = await s.scalars(query.order_by(col(JoinRow.joined_at_us), col(JoinRow.alert_id)))
    return [msgspec.convert(row, Joined, from_attributes=True) for row in rows]


async def joined(s: AsyncSession, alert_ids: Iterable[int]) -> dict[int, int]:
    """The incidents of those of some alerts that have joined one, by alert."""
    query = select(col(JoinRow.alert_id), col(JoinRow.incident_id))
    rows = await s.execute(query.where(col(JoinRow.alert_id).in_(list(alert_ids))))
    return {row.alert_id: row.incident_id for row in rows}
