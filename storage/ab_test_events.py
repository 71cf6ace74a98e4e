"""What happened to A/B tests: one row for each move, with its reason, in the move's transaction.

Written by `storage.ab_tests` alone; never changed and never deleted. Read by every package.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.ab_test_states import State, Why


class EventRow(SQLModel, table=True):
    """An event as it is stored."""

    __tablename__: ClassVar[str] = "ab_test_events"

    id: int | None = Field(default=None, primary_key=True)
    ab_test_id: int
    at_us: int
    before: str | None
    after: str
    why: str
    sentence: str
    actor: str
    intent_id: int | None


class AbTestEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One move: from which state (None: it began) to which, and why."""

    id: int
    ab_test_id: int
    at_us: int
    before: State | None
    after: State
    why: Why
    sentence: str
    actor: str
    intent_id: int | None


async def add(
    s: AsyncSession,
    *,
    ab_test_id: int,
    at_us: int,
    before: State | None,
    after: State,
    why: Why,
    sentence: str,
    actor: str,
    intent_id: int | None,
) -> None:
    """Add the event of a move."""
    s.add(
        EventRow(
            ab_test_id=ab_test_id,
            at_us=at_us,
            before=None if before is None else before.value,
            after=after.value,
            why=why.value,
            sentence=sentence,
            actor=actor,
            intent_id=intent_id,
        )
    )
    await s.flush()


async def of(s: AsyncSession, ab_test_id: int) -> list[AbTestEvent]:
    """The moves of an A/B test, oldest first."""
    query = select(EventRow).where(col(EventRow.ab_test_id) == ab_test_id)
    rows = await s.scalars(query.order_by(col(EventRow.id)))
    return [msgspec.convert(row, AbTestEvent, from_attributes=True) for row in rows]
