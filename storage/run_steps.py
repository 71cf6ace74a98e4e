"""The steps of a run: what each saw, the intent that it asked for, how it ended.

A step is found by its name, so an interrupted run resumes at the first that has not ended. Written
by the runner, read by every package.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

_JSON: Final = frozenset({"looked", "before", "after"})


class Result(StrEnum):
    """How a step ended, or that it is taken back.

    DONE: it acted or looked, and its verify was met or may be missed. Final.
    SKIPPED: it was not needed, or a person passed it by. Final.
    FAILED: a person decides, or the run failed; a retry begins the step again.
    UNDOING: its verify was not met in time and its action is being undone. If the runner dies, its
        next start continues with the undo and does not verify again.
    UNDONE: its action is undone. Final.
    """

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"


class StepRow(SQLModel, table=True):
    """The row of a step; what it looked at is JSON."""

    __tablename__: ClassVar[str] = "run_steps"

    run_id: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    position: int
    looked: str | None
    as_expected: bool | None
    expected_version: int | None
    intent_id: int | None
    sentence: str | None
    began_at_us: int
    ended_at_us: int | None
    before: str | None = None
    after: str | None = None
    outcome: str | None = None
    goto: str | None = None
    go_intent_id: int | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run: what was seen, the intent that was asked for, how it ended.

    `expected_version` is the version of the action's target when the step looked. `before` and
    `after` are what its verify saw before the action and at the end. `outcome` is how it ended;
    `goto` is the step that it branched to, `go_intent_id` the intent that let it act.
    """

    run_id: int
    name: str
    position: int
    looked: int | float | str | None
    as_expected: bool | None
    expected_version: int | None
    intent_id: int | None
    sentence: str | None
    began_at_us: int
    ended_at_us: int | None
    before: int | float | str | None = None
    after: int | float | str | None = None
    outcome: Result | None = None
    goto: str | None = None
    go_intent_id: int | None = None


async def note(
    s: AsyncSession, run_id: int, name: str, position: int, at_us: int, **known: Any
) -> Step:
    """Record what is known of a step so far, and return all of it.

    `known` are fields of a step; the rest stays.
    """
    row = await s.get(StepRow, (run_id, name))
    if row is None:
        row = StepRow(
            run_id=run_id,
            name=name,
            position=position,
            looked=None,
            as_expected=None,
            expected_version=None,
            intent_id=None,
            sentence=None,
            began_at_us=at_us,
            ended_at_us=None,
        )
        s.add(row)
    return await _change(s, row, known)


async def change(s: AsyncSession, run_id: int, name: str, **known: Any) -> Step:
    """Record more of a step that has begun."""
    return await _change(s, await s.get_one(StepRow, (run_id, name)), known)


async def _change(s: AsyncSession, row: StepRow, known: dict[str, Any]) -> Step:
    for field, value in known.items():
        json = field in _JSON and value is not None
        setattr(row, field, msgspec.json.encode(value).decode() if json else value)
    await s.flush()
    return _step(row)


async def of(s: AsyncSession, run_id: int) -> list[Step]:
    """The steps of a run that have begun, in order."""
    query = select(StepRow).where(col(StepRow.run_id) == run_id).order_by(col(StepRow.position))
    return [_step(row) for row in await s.scalars(query)]


def _step(row: StepRow) -> Step:
    return Step(
        run_id=row.run_id,
        name=row.name,
        position=row.position,
        looked=_value(row.looked),
        as_expected=row.as_expected,
        expected_version=row.expected_version,
        intent_id=row.intent_id,
        sentence=row.sentence,
        began_at_us=row.began_at_us,
        ended_at_us=row.ended_at_us,
        before=_value(row.before),
        after=_value(row.after),
        outcome=None if row.outcome is None else Result(row.outcome),
        goto=row.goto,
        go_intent_id=row.go_intent_id,
    )


def _value(stored: str | None) -> int | float | str | None:
    return None if stored is None else msgspec.json.decode(stored, type=int | float | str | None)
