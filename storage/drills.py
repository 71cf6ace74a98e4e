"""Drills: which fault was injected when, and when it was detected, acted upon and over.

Written by the runner, read by every package.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, moves


class State(StrEnum):
    """How far a drill is.

    RUNNING: the runner prepares it, injects its fault or waits. If the runner dies, its next start
        removes what the drill had made and ends it as FAILED.
    PASSED: the fault was detected, acted upon and over in time; what the drill made is gone. Final.
    FAILED: `reason` says what did not happen in time, or why it was not begun. Final.
    """

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


MOVES: Final = moves.Table(
    noun="drill",
    column="state",
    begins=frozenset({State.RUNNING}),
    legal={
        State.RUNNING: frozenset({State.PASSED, State.FAILED}),
        State.PASSED: frozenset(),
        State.FAILED: frozenset(),
    },
)


class DrillRow(SQLModel, table=True):
    """The row of a drill."""

    __tablename__: ClassVar[str] = "drills"

    id: int | None = Field(default=None, primary_key=True)
    name: str
    intent_id: int
    actor: str
    state: str
    began_at_us: int
    injected_at_us: int | None = None
    detected_at_us: int | None = None
    acted_at_us: int | None = None
    recovered_at_us: int | None = None
    ended_at_us: int | None = None
    detected_by: str | None = None
    acted_by: str | None = None
    run_id: int | None = None
    reason: str | None = None
    measured_at_us: int | None = None
    measured_by: str | None = None
    alert_id: int | None = None


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """One drill. `detected_by` is what showed the fault, `acted_by` what was done.

    Where an alert rule is about the fault, it is detected when that alert (`alert_id`) fires, and
    `measured_at_us` is when the figure behind it was first out of bounds; else both are the same.
    """

    id: int
    name: str
    intent_id: int
    actor: str
    state: State
    began_at_us: int
    injected_at_us: int | None
    detected_at_us: int | None
    acted_at_us: int | None
    recovered_at_us: int | None
    ended_at_us: int | None
    detected_by: str | None
    acted_by: str | None
    run_id: int | None
    reason: str | None
    measured_at_us: int | None = None
    measured_by: str | None = None
    alert_id: int | None = None

    def took_us(self, until_us: int | None) -> int | None:
        """From the injection to a later moment; None while one of them has not come."""
        if self.injected_at_us is None or until_us is None:
            return None
        return until_us - self.injected_at_us


async def begin(s: AsyncSession, *, name: str, intent_id: int, actor: str, at_us: int) -> Drill:
    """A drill that begins, or the one that was begun for this intent before an interruption."""
    if (before := await of_intent(s, intent_id)) is not None:
        return before
    row = DrillRow(
        name=name, intent_id=intent_id, actor=actor, state=State.RUNNING.value, began_at_us=at_us
    )
    s.add(row)
    await s.flush()
    return _drill(row)


async def note(s: AsyncSession, id: int, **known: Any) -> Drill:
    """Record when something happened, or by what; the rest stays."""
    row = await s.get_one(DrillRow, id)
    for field, value in known.items():
        setattr(row, field, value)
    await s.flush()
    return _drill(row)


async def end(s: AsyncSession, id: int, state: State, reason: str | None, *, at_us: int) -> None:
    """Record how it ended."""
    drill = await find(s, id)
    await moves.move(
        s, MOVES, DrillRow, id, State.RUNNING, state, actor="runner", at_us=at_us,
        intent_id=drill.intent_id, changes={"reason": reason, "ended_at_us": at_us},
    )  # fmt: skip


async def find(s: AsyncSession, id: int) -> Drill:
    """By its id."""
    row = await s.get(DrillRow, id, populate_existing=True)
    if row is None:
        raise errors.NotFound(f"There is no drill {id}; `paddock drill --list` shows them.")
    return _drill(row)


async def of_intent(s: AsyncSession, intent_id: int) -> Drill | None:
    """The drill that was begun for an intent, if one was."""
    query = select(DrillRow).where(col(DrillRow.intent_id) == intent_id)
    row = (await s.scalars(query.execution_options(populate_existing=True))).first()
    return None if row is None else _drill(row)


async def running(s: AsyncSession) -> Drill | None:
    """The drill that runs now, if one does."""
    query = select(DrillRow).where(col(DrillRow.state) == State.RUNNING.value).limit(1)
    row = (await s.scalars(query)).first()
    return None if row is None else _drill(row)


async def tail(s: AsyncSession, limit: int = 100) -> list[Drill]:
    """The newest drills, newest first."""
    query = select(DrillRow).order_by(col(DrillRow.id).desc()).limit(limit)
    return [_drill(row) for row in await s.scalars(query)]


def _drill(row: DrillRow) -> Drill:
    return msgspec.convert(row, Drill, from_attributes=True)
