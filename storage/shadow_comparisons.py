"""Comparisons of shadows: what a candidate made of a copy of a request, beside stable's answer.

Figures alone. The texts are those of the request and of its copy, found by their ids where the
service records texts. Written by the gateway, counted by `storage.rollout_evidence`, read by every
package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import ColumnElement, Integer, case, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.rollout_guards import Guard, Measure
from storage.store import insert_new

AGREES_F1: Final = 0.5
"""The token F1 of two answers from which on they agree."""
KEPT: Final = 100_000
"""The newest comparisons that are kept, of all rollouts together."""


class ComparisonRow(SQLModel, table=True):
    """A comparison as it is stored; `number` is the order of recording."""

    __tablename__: ClassVar[str] = "shadow_comparisons"

    number: int | None = Field(default=None, primary_key=True)
    rollout_id: int
    attempt: int
    at_us: int
    request_id: str
    copy_id: str
    error_code: str | None
    exact: bool
    f1: float
    stable_tokens: int
    candidate_tokens: int
    stable_us: int
    candidate_us: int
    stable_ttft_us: int | None
    candidate_ttft_us: int | None
    scored_tokens: int
    logprob: float | None
    top_tokens: int | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its copy.

    `error_code` is why the candidate failed, None if it answered; a failure agrees with nothing.
    `f1` is the token F1 of the two answers. Times run from the first computation, because a copy
    waits for users. `logprob` is the mean natural-log probability that the candidate gives to the
    `scored_tokens` tokens of stable's answer, of which `top_tokens` are its own first choice; None
    where it cannot be asked for it.
    """

    rollout_id: int
    attempt: int
    at_us: int
    request_id: str
    copy_id: str
    error_code: str | None = None
    exact: bool = False
    f1: float = 0.0
    stable_tokens: int
    candidate_tokens: int = 0
    stable_us: int
    candidate_us: int = 0
    stable_ttft_us: int | None = None
    candidate_ttft_us: int | None = None
    scored_tokens: int = 0
    logprob: float | None = None
    top_tokens: int | None = None


async def record(s: AsyncSession, rows: Iterable[Comparison]) -> None:
    """Store comparisons, in the order given; a copy is compared once."""
    values: list[dict[str, Any]] = [msgspec.structs.asdict(each) for each in rows]
    await insert_new(s, ComparisonRow, values, key=("copy_id",))


async def last(s: AsyncSession) -> int:
    """The number of the newest comparison, 0 before the first."""
    return (await s.execute(select(func.max(ComparisonRow.number)))).scalar() or 0


async def count(
    s: AsyncSession, rollout_id: int, attempt: int, *, after: int, guards: Sequence[Guard]
) -> tuple[int, int, list[int]]:
    """The newest number, the comparisons after a number, and how many are an event of each guard.

    Zeros for a guard that is not about copies.
    """
    until = await last(s)
    events = [func.coalesce(func.sum(case((_event(each), 1), else_=0), type_=Integer), 0)
              for each in guards]  # fmt: skip
    query = select(func.count(), *events).where(
        *_of(rollout_id, attempt),
        col(ComparisonRow.number) > after,
        col(ComparisonRow.number) <= until,
    )
    n, *found = (await s.execute(query)).one()
    zeroed = zip(guards, found, strict=True)
    return until, n, [events if guard.counts(copies=True) else 0 for guard, events in zeroed]


async def tail(
    s: AsyncSession, rollout_id: int, attempt: int, limit: int = 1000
) -> list[Comparison]:
    """The newest comparisons of an attempt, newest first."""
    query = select(ComparisonRow).where(*_of(rollout_id, attempt))
    rows = await s.scalars(query.order_by(col(ComparisonRow.number).desc()).limit(limit))
    return [msgspec.convert(row, Comparison, from_attributes=True) for row in rows]


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete at most `limit` that are older than a moment or too many; returns how many.

    Call it until 0.
    """
    number = col(ComparisonRow.number)
    old = select(number).where(
        or_(col(ComparisonRow.at_us) < before_us, number <= await last(s) - KEPT)
    )
    gone = await s.execute(delete(ComparisonRow).where(number.in_(old.limit(limit))))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def _of(rollout_id: int, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return col(ComparisonRow.rollout_id) == rollout_id, col(ComparisonRow.attempt) == attempt


def _event(guard: Guard) -> ColumnElement[bool]:
    """Whether a comparison is an event of a guard; a copy that failed always is."""
    row = ComparisonRow
    failed = col(row.error_code).is_not(None)
    match guard.measure:
        case Measure.LATENCY:
            return failed | (col(row.candidate_us) > guard.limit_us)
        case Measure.TTFT:
            ttft = col(row.candidate_ttft_us)
            return failed | ttft.is_(None) | (ttft > guard.limit_us)
        case Measure.SLOWDOWN:
            allowed = col(row.stable_us) * guard.limit_percent
            return failed | (col(row.candidate_us) * 100 > allowed)
        case Measure.AGREEMENT:
            return failed | (col(row.f1) < AGREES_F1)
        case _:
            return failed
