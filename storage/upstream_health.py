"""Whether upstreams answer, and since when: a measurement, which the ledger does not record.

Written by the gateway, which finds out. Read by every package.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel


class HealthRow(SQLModel, table=True):
    """Whether an upstream answers, as it is kept."""

    __tablename__: ClassVar[str] = "upstream_health"

    name: str = Field(primary_key=True)
    reason: str | None
    since_us: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an upstream answers since a time: `reason` is why it does not, None while it does."""

    reason: str | None
    since_us: int


async def observe(s: AsyncSession, name: str, reason: str | None, at_us: int) -> None:
    """Record that an upstream answers from now on, or that it does not, and why."""
    row = await s.get(HealthRow, name)
    if row is None:
        s.add(HealthRow(name=name, reason=reason, since_us=at_us))
    else:
        row.reason, row.since_us = reason, at_us
    await s.flush()


async def every(s: AsyncSession) -> dict[str, Health]:
    """The last observation by name; upstreams that were not tried yet are left out."""
    rows = await s.scalars(select(HealthRow))
    return {row.name: Health(reason=row.reason, since_us=row.since_us) for row in rows}


async def forget(s: AsyncSession, name: str) -> None:
    """Delete what was observed of an upstream that is removed."""
    if (row := await s.get(HealthRow, name)) is not None:
        await s.delete(row)
