"""Runs of runbooks: who started which, how far it is, and what each step saw and did.

A run is found by its intent and a step by its name, so an interrupted run resumes where it was.
Written by the runner, read by every room.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, moves


class State(StrEnum):
    """How far a run is.

    RUNNING: the runner walks its steps. If the runner dies, its next start resumes at the first
        step that has not ended.
    DONE: all steps succeeded. Final.
    FAILED: a step did not succeed; `reason` names it. What earlier steps did stays done. Final.
    """

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


MOVES: Final = moves.Table(
    noun="run",
    column="state",
    begins=frozenset({State.RUNNING}),
    legal={
        State.RUNNING: frozenset({State.DONE, State.FAILED}),
        State.DONE: frozenset(),
        State.FAILED: frozenset(),
    },
)


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


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a runbook; `content` is the hash of the runbook that it began with."""

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


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run: what was seen, the intent that was asked for, how it ended.

    `expected_version` is the version of the action's target when the step looked.
    """

    run_id: int
    name: str
    position: int
    looked: float | str | None
    as_expected: bool | None
    expected_version: int | None
    intent_id: int | None
    sentence: str | None
    began_at_us: int
    ended_at_us: int | None


async def begin(
    s: AsyncSession,
    *,
    runbook: str,
    intent_id: int,
    actor: str,
    inputs: Mapping[str, str],
    content: str,
    at_us: int,
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
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="runbooks.start", noun="run", key=str(row.id), before=None,
        after={"runbook": runbook, "inputs": dict(inputs)}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _run(row)


async def end(s: AsyncSession, id: int, state: State, *, reason: str, at_us: int) -> None:
    """Record how a run ended."""
    run = await find(s, id)
    await moves.move(
        s, MOVES, RunRow, id, State.RUNNING, state, actor="runner", at_us=at_us,
        intent_id=run.intent_id, changes={"reason": reason, "ended_at_us": at_us},
    )  # fmt: skip


async def note(
    s: AsyncSession, run_id: int, name: str, position: int, at_us: int, **known: Any
) -> Step:
    """Record what is known of a step so far, and return all of it.

    `known` is any of looked, as_expected, expected_version, intent_id, sentence, ended_at_us; the
    rest stays.
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
    if "looked" in known:
        known["looked"] = msgspec.json.encode(known["looked"]).decode()
    for field, value in known.items():
        setattr(row, field, value)
    await s.flush()
    return _step(row)


async def of_intent(s: AsyncSession, intent_id: int) -> Run | None:
    """The run that was begun for an intent, if one was."""
    query = select(RunRow).where(col(RunRow.intent_id) == intent_id)
    row = (await s.scalars(query.execution_options(populate_existing=True))).first()
    return None if row is None else _run(row)


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


async def steps(s: AsyncSession, run_id: int) -> list[Step]:
    """The steps of a run that have begun, in order."""
    query = select(StepRow).where(col(StepRow.run_id) == run_id).order_by(col(StepRow.position))
    return [_step(row) for row in await s.scalars(query)]


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
    )


def _step(row: StepRow) -> Step:
    return Step(
        run_id=row.run_id,
        name=row.name,
        position=row.position,
        looked=None if row.looked is None else msgspec.json.decode(row.looked),
        as_expected=row.as_expected,
        expected_version=row.expected_version,
        intent_id=row.intent_id,
        sentence=row.sentence,
        began_at_us=row.began_at_us,
        ended_at_us=row.ended_at_us,
    )
