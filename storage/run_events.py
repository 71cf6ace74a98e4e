"""The timeline of a run: every look, act, decision and note, by whom and when.

Rows are only added. Written by the runner, read by every package.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col


class Kind(StrEnum):
    """What happened."""

    BEGAN = "began"
    LOOKED = "looked"
    ACTED = "acted"
    VERIFIED = "verified"
    UNDONE = "undone"  # the verify of the step was not met
    BRANCHED = "branched"
    WAITS = "waits"
    CONTINUED = "continued"  # a person had the step carried out
    CONFIRMED = "confirmed"
    SKIPPED = "skipped"
    RETRIED = "retried"
    STEP_FAILED = "step failed"
    NOTED = "noted"
    TAKEN = "taken"
    HANDED_OVER = "handed over"
    ENDED = "ended"


class EventRow(SQLModel, table=True):
    """The row of an event."""

    __tablename__: ClassVar[str] = "run_events"

    id: int | None = Field(default=None, primary_key=True)
    run_id: int
    at_us: int
    actor: str
    kind: str
    step: str | None
    sentence: str
    intent_id: int | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event; `intent_id` is the intent by which a person or the runner did it."""

    id: int
    run_id: int
    at_us: int
    actor: str
    kind: Kind
    step: str | None
    sentence: str
    intent_id: int | None

    @property
    def words(self) -> str:
        """What happened, where, and what was said: acted cap: max_running is 1."""
        at = "" if self.step is None else f" {self.step}"
        said = f": {self.sentence}" if self.sentence else ""
        return f"{self.kind.value}{at}{said}"


async def add(
    s: AsyncSession,
    run_id: int,
    kind: Kind,
    sentence: str,
    *,
    actor: str,
    at_us: int,
    step: str | None = None,
    intent_id: int | None = None,
) -> None:
    """Write what happened."""
    s.add(
        EventRow(
            run_id=run_id,
            at_us=at_us,
            actor=actor,
            kind=kind.value,
            step=step,
            sentence=sentence,
            intent_id=intent_id,
        )
    )
    await s.flush()


async def of(s: AsyncSession, run_id: int, limit: int = 500) -> list[Event]:
    """The newest events of a run, oldest first."""
    query = select(EventRow).where(col(EventRow.run_id) == run_id)
    found = await s.scalars(query.order_by(col(EventRow.id).desc()).limit(limit))
    return [_event(row) for row in reversed(list(found))]


async def people(s: AsyncSession, run_id: int) -> set[int]:
    """The intents by which people drove a run: began it, let a step act, decided."""
    query = select(col(EventRow.intent_id)).where(
        col(EventRow.run_id) == run_id,
        col(EventRow.intent_id).is_not(None),
        col(EventRow.kind).not_in([Kind.ACTED.value, Kind.UNDONE.value]),
    )
    return {id for id in await s.scalars(query) if id is not None}


def _event(row: EventRow) -> Event:
    return msgspec.convert(row, Event, from_attributes=True)
