"""Runs of runbooks: who started which, how far it is, and who decides for it.

A run is found by its intent, so an interrupted run resumes where it was; its steps are in
`storage.run_steps`, its timeline in `storage.run_events`. Written by the runner, read by every
room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, moves
from storage.run_states import MOVES, Pace, State, Waits

__all__ = [
    "MOVES", "Pace", "Run", "State", "Waits", "begin", "called", "driven", "end", "find", "hold",
    "of_intent", "open_", "resume", "stay", "tail",
]  # fmt: skip


class RunRow(SQLModel, table=True):
    """The row of a run; its inputs are JSON."""

    __tablename__: ClassVar[str] = "runs"

    id: int | None = Field(default=None, primary_key=True)
    runbook: str
    intent_id: int
    actor: str
    inputs: str
    state: str
    reason: str | None
    began_at_us: int
    ended_at_us: int | None
    content: str | None
    pace: str = Pace.THROUGH.value
    alone: str | None = None
    taken_by: str | None = None
    driver_intent_id: int | None = None
    waits_for: str | None = None
    waits_at: str | None = None
    book: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a runbook.

    `content` is the hash of the runbook that it began with and `book` that runbook as JSON; runs
    older than schema 32 have none. `taken_by` alone decides while it waits; None: the first who
    acts. `driver` is the intent for which the runner walks it, or walked it last. `alone` are the
    steps that a run without a person may take.
    """

    id: int
    runbook: str
    intent_id: int
    actor: str
    inputs: dict[str, str]
    state: State
    reason: str | None
    began_at_us: int
    ended_at_us: int | None
    content: str | None
    pace: Pace = Pace.THROUGH
    alone: tuple[str, ...] = ()
    taken_by: str | None = None
    driver: int | None = None
    waits_for: Waits | None = None
    waits_at: str | None = None
    book: str | None = None


async def begin(
    s: AsyncSession,
    *,
    runbook: str,
    intent_id: int,
    actor: str,
    inputs: Mapping[str, str],
    content: str,
    at_us: int,
    pace: Pace = Pace.THROUGH,
    alone: Sequence[str] = (),
    taken_by: str | None = None,
    book: str | None = None,
) -> Run:
    """The run of an intent: a new one, or the one that was begun before an interruption."""
    if (begun := await of_intent(s, intent_id)) is not None:
        return begun
    row = RunRow(
        runbook=runbook,
        intent_id=intent_id,
        actor=actor,
        inputs=msgspec.json.encode(dict(inputs)).decode(),
        state=State.RUNNING.value,
        reason=None,
        began_at_us=at_us,
        ended_at_us=None,
        content=content,
        pace=pace.value,
        alone=msgspec.json.encode(list(alone)).decode() if alone else None,
        taken_by=taken_by,
        driver_intent_id=intent_id,
        book=book,
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="runbooks.start", noun="run", key=str(row.id), before=None,
        after={"runbook": runbook, "inputs": dict(inputs)}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _run(row)


async def end(
    s: AsyncSession, id: int, state: State, *, reason: str, at_us: int, actor: str = "runner"
) -> None:
    """Record how a run ended."""
    run = await find(s, id)
    await moves.move(
        s, MOVES, RunRow, id, run.state, state, actor=actor, at_us=at_us, intent_id=run.driver,
        changes={"reason": reason, "ended_at_us": at_us, "waits_for": None, "waits_at": None},
    )  # fmt: skip


async def stay(s: AsyncSession, run: Run, waits_for: Waits, step: str, *, at_us: int) -> None:
    """A running run waits for a person from now on, at a step."""
    await moves.move(
        s, MOVES, RunRow, run.id, State.RUNNING, State.WAITING, actor="runner", at_us=at_us,
        intent_id=run.driver, changes={"waits_for": waits_for.value, "waits_at": step},
    )  # fmt: skip


async def resume(
    s: AsyncSession, run: Run, *, driver: int, actor: str, at_us: int, pace: Pace
) -> Run:
    """A waiting run is walked again, for the intent `driver`, by the person who holds it."""
    changes = {
        "driver_intent_id": driver, "taken_by": actor, "waits_for": None, "waits_at": None,
        "pace": pace.value,
    }  # fmt: skip
    await moves.move(
        s, MOVES, RunRow, run.id, State.WAITING, State.RUNNING, actor=actor, at_us=at_us,
        intent_id=driver, changes=changes,
    )  # fmt: skip
    return await find(s, run.id)


async def hold(
    s: AsyncSession, run: Run, by: str | None, *, actor: str, at_us: int, intent_id: int
) -> None:
    """Change who decides for a run."""
    row = await s.get_one(RunRow, run.id)
    row.taken_by = by
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="taken_by", noun="run", key=str(run.id), before=run.taken_by, after=by,
        at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


async def of_intent(s: AsyncSession, intent_id: int) -> Run | None:
    """The run that was begun for an intent, if one was."""
    query = select(RunRow).where(col(RunRow.intent_id) == intent_id)
    row = (await s.scalars(query.execution_options(populate_existing=True))).first()
    return None if row is None else _run(row)


async def driven(s: AsyncSession, intent_id: int) -> Run | None:
    """The run that was walked last for an intent, if one was."""
    query = select(RunRow).where(col(RunRow.driver_intent_id) == intent_id)
    row = (await s.scalars(query.execution_options(populate_existing=True))).first()
    return None if row is None else _run(row)


async def open_(s: AsyncSession) -> list[Run]:
    """The runs that have not ended, oldest first."""
    states = [State.RUNNING.value, State.WAITING.value]
    query = select(RunRow).where(col(RunRow.state).in_(states)).order_by(col(RunRow.id))
    return [_run(row) for row in await s.scalars(query)]


async def called(s: AsyncSession, runbook: str) -> list[Run]:
    """All runs of a runbook, oldest first."""
    query = select(RunRow).where(col(RunRow.runbook) == runbook).order_by(col(RunRow.id))
    return [_run(row) for row in await s.scalars(query)]


async def find(s: AsyncSession, id: int) -> Run:
    """By its id."""
    row = await s.get(RunRow, id, populate_existing=True)
    if row is None:
        raise errors.unknown("run", id, [str(run.id) for run in await tail(s, 12)])
    return _run(row)


async def tail(s: AsyncSession, limit: int = 100) -> list[Run]:
    """The newest runs, newest first."""
    query = select(RunRow).order_by(col(RunRow.id).desc()).limit(limit)
    return [_run(row) for row in await s.scalars(query)]


def _run(row: RunRow) -> Run:
    return Run(
        id=row.id or 0,
        runbook=row.runbook,
        intent_id=row.intent_id,
        actor=row.actor,
        inputs=msgspec.json.decode(row.inputs, type=dict[str, str]),
        state=State(row.state),
        reason=row.reason,
        began_at_us=row.began_at_us,
        ended_at_us=row.ended_at_us,
        content=row.content,
        pace=Pace(row.pace),
        alone=() if row.alone is None else msgspec.json.decode(row.alone, type=tuple[str, ...]),
        taken_by=row.taken_by,
        driver=row.driver_intent_id,
        waits_for=None if row.waits_for is None else Waits(row.waits_for),
        waits_at=row.waits_at,
        book=row.book,
    )
