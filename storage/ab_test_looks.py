"""The newest verdict on each goal, each guard and the split of an A/B test.

One row for each, which the next look replaces; those of the look that ended a test are its result
and stay. Never judges. Written by `engine.control`, read by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.store import upsert


class Kind(StrEnum):
    """What a look is about."""

    GOAL = "goal"
    GUARD = "guard"
    SPLIT = "split"


class Verdict(StrEnum):
    """What a look says of a treatment, or of the split."""

    PENDING = "pending"  # nothing to judge yet
    RUNNING = "running"  # too few to tell
    BETTER = "better"
    WORSE = "worse"
    SAME = "same"  # no difference that matters
    HARM = "harm"  # a guard is broken
    HOLDS = "holds"  # a guard is shown to hold, or the units follow the weights
    MISMATCH = "mismatch"  # the units do not follow the weights
    ERROR = "error"  # it could not be computed


class LookRow(SQLModel, table=True):
    """A verdict as it is stored; `release` is 0 where it is about the split."""

    __tablename__: ClassVar[str] = "ab_test_looks"

    ab_test_id: int = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    release: int = Field(primary_key=True)
    at_us: int
    n: int
    effect: float | None
    low: float | None
    high: float | None
    needed: int | None
    verdict: str
    sentence: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict: how many units or requests it rests on, the effect, and its interval.

    The effect of a goal is the treatment's less the control's, in the unit of the metric; that of
    a guard is the rate of its event. What is not known yet, or has no end, is None. `needed` is
    how many more units, all arms together, would decide it at best; None where none can be named.
    """

    kind: Kind
    name: str
    release: int
    at_us: int
    n: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    needed: int | None = None
    verdict: Verdict
    sentence: str


async def record(s: AsyncSession, ab_test_id: int, looks: Sequence[Look]) -> None:
    """Keep verdicts in place of the earlier ones."""
    rows = [{"ab_test_id": ab_test_id, **_values(look)} for look in looks]
    await upsert(s, LookRow, rows, key=("ab_test_id", "kind", "name", "release"))


async def of(s: AsyncSession, ab_test_id: int) -> list[Look]:
    """The newest verdicts of a test, by kind, name and release."""
    query = select(LookRow).where(col(LookRow.ab_test_id) == ab_test_id)
    query = query.order_by(col(LookRow.kind), col(LookRow.name), col(LookRow.release))
    rows = await s.scalars(query.execution_options(populate_existing=True))
    return [msgspec.convert(row, Look, from_attributes=True) for row in rows]


def _values(look: Look) -> dict[str, object]:
    return msgspec.structs.asdict(look) | {
        "kind": look.kind.value,
        "verdict": look.verdict.value,
    }
