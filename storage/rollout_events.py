"""The events of rollouts: one for each move, with its reason, in the transaction of the move.

Written by `storage.rollouts` alone; never changed and never deleted. Read by every package.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.rollout_states import State, Why


class EventRow(SQLModel, table=True):
    """An event as it is stored."""

    __tablename__: ClassVar[str] = "rollout_events"

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: int
    at_us: int
    before: str | None
    after: str
    step: int | None
    weight_bp: int
    why: str
    sentence: str
    actor: str
    intent_id: int | None


class RolloutEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One move: from which state (None: it began) to which, at which step, and why."""

    id: int
    rollout_id: int
    at_us: int
    before: State | None
    after: State
    step: int | None
    weight_bp: int
    why: Why
    sentence: str
    actor: str
    intent_id: int | None


async def add(
    s: AsyncSession,
    *,
    rollout_id: int,
    at_us: int,
    before: State | None,
    after: State,
    step: int | None,
    weight_bp: int,
    why: Why,
    sentence: str,
    actor: str,
    intent_id: int | None,
) -> None:
    """Add the event of a move."""
    s.add(
        EventRow(
            rollout_id=rollout_id,
            at_us=at_us,
            before=None if before is None else before.value,
            after=after.value,
            step=step,
            weight_bp=weight_bp,
            why=why.value,
            sentence=sentence,
            actor=actor,
            intent_id=intent_id,
        )
    )
    await s.flush()


async def of(s: AsyncSession, rollout_id: int) -> list[RolloutEvent]:
    """The moves of a rollout, oldest first."""
    query = select(EventRow).where(col(EventRow.rollout_id) == rollout_id)
    rows = await s.scalars(query.order_by(col(EventRow.id)))
    return [msgspec.convert(row, RolloutEvent, from_attributes=True) for row in rows]
