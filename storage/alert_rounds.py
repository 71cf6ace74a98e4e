"""How far the evaluation of alert rules is: its clock, its last instant, how each rule fared.

The clock of evaluations counts microseconds while control evaluates. It is what `for` and
`keep_firing_for` are counted on: a wall clock that is set back or forward changes neither, and the
time that control was away does not count. Written by control, read by every package.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

_ONLY: Final = 1


class Outcome(StrEnum):
    """How the last evaluation of a rule ended."""

    MEASURED = "measured"  # it holds for some elements or for none
    NO_DATA = "no data"  # none of its series has a value, or too few samples
    ERROR = "error"  # it could not be evaluated; its alerts are held as they are


class RoundRow(SQLModel, table=True):
    """The last round as it is stored."""

    __tablename__: ClassVar[str] = "alert_rounds"

    id: int = Field(primary_key=True)
    clock_us: int
    at_us: int
    instant_s: int


class HealthRow(SQLModel, table=True):
    """How a rule fared as it is stored."""

    __tablename__: ClassVar[str] = "alert_rule_health"

    rule: str = Field(primary_key=True)
    outcome: str
    sentence: str
    since_us: int


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """The last round: the clock of evaluations, when it was (UTC), and the instant it was of."""

    clock_us: int
    at_us: int
    instant_s: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a rule fared, since when, and what is wrong with it."""

    outcome: Outcome
    sentence: str
    since_us: int


async def last(s: AsyncSession) -> Round | None:
    """The last round; None before the first."""
    row = await s.get(RoundRow, _ONLY, populate_existing=True)
    return None if row is None else msgspec.convert(row, Round, from_attributes=True)


async def record(s: AsyncSession, *, clock_us: int, at_us: int, instant_s: int) -> None:
    """Note a round."""
    row = RoundRow(id=_ONLY, clock_us=clock_us, at_us=at_us, instant_s=instant_s)
    await s.merge(row)
    await s.flush()


async def health(s: AsyncSession) -> dict[str, Health]:
    """How each rule fared at the last round, by its name."""
    rows = await s.scalars(select(HealthRow).order_by(col(HealthRow.rule)))
    return {row.rule: msgspec.convert(row, Health, from_attributes=True) for row in rows}


async def faults(s: AsyncSession) -> dict[str, str]:
    """What is wrong with the rules that could not be evaluated, by their names."""
    query = select(HealthRow).where(col(HealthRow.outcome) == Outcome.ERROR.value)
    return {row.rule: row.sentence for row in await s.scalars(query.order_by(col(HealthRow.rule)))}


async def set_health(
    s: AsyncSession, found: Mapping[str, tuple[Outcome, str]], *, at_us: int
) -> None:
    """Note how the rules of a round fared; rules that are not among them are forgotten."""
    known = await health(s)
    for rule, (outcome, sentence) in found.items():
        before = known.get(rule)
        if before is not None and (before.outcome, before.sentence) == (outcome, sentence):
            continue
        since = at_us if before is None or before.outcome is not outcome else before.since_us
        await s.merge(
            HealthRow(rule=rule, outcome=outcome.value, sentence=sentence, since_us=since)
        )
    if gone := known.keys() - found.keys():
        await s.execute(delete(HealthRow).where(col(HealthRow.rule).in_(gone)))
    await s.flush()
