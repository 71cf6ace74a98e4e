"""Each look at a rollout's candidate, with its verdicts.

Never judges. Written by `engine.control`, read by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import rollouts
from storage.rollout_evidence import Evidence
from storage.rollout_rows import Rollout
from storage.rollout_steps import SetWeight

KEPT: Final = 1_000
"""So many of the newest looks of a rollout are kept; a canary is looked at once a second."""


class Verdict(StrEnum):
    """What a look says of a guard."""

    PENDING = "pending"  # no case yet
    RUNNING = "running"  # too few to tell
    HOLDS = "holds"
    HARM = "harm"
    ERROR = "error"  # it could not be computed


class LookRow(SQLModel, table=True):
    """A verdict on one guard as it is stored."""

    __tablename__: ClassVar[str] = "rollout_looks"

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: int
    attempt: int
    step: int
    at_us: int
    guard: str
    n: int
    events: int
    harm_e: float
    safety_e: float
    low: float
    high: float
    needed: int | None
    verdict: str
    sentence: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one guard: the counts, the e-values of both gates, the interval of the rate.

    For a comparison with stable `guard` is its name, and the interval that of the difference: of
    rates, or of durations in milliseconds. `needed` is how many more cases without an event would
    show that the guard holds.
    """

    rollout_id: int
    attempt: int
    step: int
    at_us: int
    guard: str
    n: int
    events: int
    harm_e: float
    safety_e: float
    low: float
    high: float
    needed: int | None
    verdict: Verdict
    sentence: str = ""


async def record(
    s: AsyncSession, rollout: Rollout, evidence: Evidence, looks: Sequence[Look]
) -> None:
    """Keep a look: its verdicts, and the counts from which the next one continues."""
    s.add_all(
        LookRow(**msgspec.structs.asdict(look) | {"verdict": look.verdict.value}) for look in looks
    )
    await rollouts.change(s, rollout.id, evidence=msgspec.json.encode(evidence).decode())
    await s.flush()


async def newest(s: AsyncSession, rollout: Rollout, *, until_us: int | None = None) -> list[Look]:
    """The last look at each guard at this weight, in their order, then at each comparison.

    With `until_us` the last one up to a moment.
    """
    if rollout.step is None:
        return []
    weights = [at for at, step in enumerate(rollout.steps) if isinstance(step, SetWeight)]
    began = max((at for at in weights if at <= rollout.step), default=0)
    latest = (
        select(func.max(col(LookRow.id)))
        .where(
            col(LookRow.rollout_id) == rollout.id,
            col(LookRow.attempt) == rollout.attempt,
            col(LookRow.step) >= began,
        )
        .group_by(col(LookRow.guard))
    )
    if until_us is not None:
        latest = latest.where(col(LookRow.at_us) <= until_us)
    query = select(LookRow).where(col(LookRow.id).in_(latest)).order_by(col(LookRow.guard))
    by_name = {row.guard: _look(row) for row in await s.scalars(query)}
    named = {guard.name for guard in rollout.guards}
    guards = [by_name[guard.name] for guard in rollout.guards if guard.name in by_name]
    return guards + [look for name, look in by_name.items() if name not in named]


async def of(s: AsyncSession, rollout_id: int, limit: int = KEPT) -> list[Look]:
    """The newest looks of a rollout, oldest first."""
    query = select(LookRow).where(col(LookRow.rollout_id) == rollout_id)
    rows = await s.scalars(query.order_by(col(LookRow.id).desc()).limit(limit))
    return [_look(row) for row in rows][::-1]


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete at most `limit` looks older than a moment, or of which a rollout has too many.

    The newest look at each guard stays. Returns how many; call it until it is 0.
    """
    newest = select(func.max(col(LookRow.id))).group_by(
        col(LookRow.rollout_id), col(LookRow.attempt), col(LookRow.guard)
    )
    place = func.row_number().over(
        partition_by=col(LookRow.rollout_id), order_by=col(LookRow.id).desc()
    )
    placed = select(
        col(LookRow.id).label("id"), col(LookRow.at_us).label("at_us"), place.label("place")
    ).subquery()
    old = select(placed.c.id).where(
        (placed.c.at_us < before_us) | (placed.c.place > KEPT), placed.c.id.not_in(newest)
    )
    gone = await s.execute(delete(LookRow).where(col(LookRow.id).in_(old.limit(limit))))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def _look(row: LookRow) -> Look:
    return msgspec.convert(row, Look, from_attributes=True)
