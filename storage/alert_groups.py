"""The notification log: what each receiver was last notified of, by group, as in Alertmanager.

A row is written in the transaction that queues a notification, so a crash neither repeats nor loses
one. Times are on the clock of evaluations. Written by control alone.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col


class GroupRow(SQLModel, table=True):
    """A group as it is stored; the numbers of the notified alerts are JSON."""

    __tablename__: ClassVar[str] = "alert_groups"

    receiver: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    opened_clock_us: int
    flushed_clock_us: int | None
    told_clock_us: int | None
    told: str


class Notified(msgspec.Struct, frozen=True, kw_only=True):
    """A group of a receiver: when it opened, was checked and notified last, and of which alerts."""

    receiver: str
    key: str
    opened_clock_us: int
    flushed_clock_us: int | None = None
    told_clock_us: int | None = None
    told: tuple[int, ...] = ()


async def every(s: AsyncSession) -> dict[tuple[str, str], Notified]:
    """All groups, by receiver and key."""
    found = {}
    for row in await s.scalars(select(GroupRow)):
        kept = {field: getattr(row, field) for field in Notified.__struct_fields__}
        kept["told"] = msgspec.json.decode(row.told, type=tuple[int, ...])
        found[row.receiver, row.key] = Notified(**kept)
    return found


async def write(s: AsyncSession, group: Notified) -> None:
    """Keep a group as it is now."""
    kept = msgspec.structs.asdict(group)
    kept["told"] = msgspec.json.encode(group.told).decode()
    await s.merge(GroupRow(**kept))
    await s.flush()


async def forget(s: AsyncSession, receiver: str, key: str | None = None) -> None:
    """Forget a group that is over, or all of a receiver."""
    query = delete(GroupRow).where(col(GroupRow.receiver) == receiver)
    if key is not None:
        query = query.where(col(GroupRow.key) == key)
    await s.execute(query)
