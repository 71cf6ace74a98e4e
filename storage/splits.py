"""Splits of a service's traffic: arms, weights, salt. None is ever changed; setting one adds one.

Written by `storage.services` alone, whose other half this is; read through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, releases

WHOLE_BP: Final = 10_000
_ARMS: Final = 32


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """A release and its weight in basis points."""

    release: int
    weight_bp: int


class SplitRow(SQLModel, table=True):
    """A split as it is kept; its arms are JSON."""

    __tablename__: ClassVar[str] = "splits"

    id: int | None = Field(default=None, primary_key=True)
    service: str
    salt: str
    arms: str
    set_at_us: int
    set_by: str
    intent_id: int | None


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Which releases answer, and how often. Who gets which follows from `salt` and the user."""

    id: int
    service: str
    salt: str
    arms: tuple[Arm, ...]
    set_at_us: int
    set_by: str
    intent_id: int | None


def check_arms(arms: Sequence[Arm]) -> None:
    """Invalid unless the arms are different releases whose weights add up to 10000."""
    if not 0 < len(arms) <= _ARMS:
        raise errors.Invalid(f"A split has 1 to {_ARMS} arms, not {len(arms)}.")
    if len({arm.release for arm in arms}) < len(arms):
        raise errors.Invalid("A release is in the split twice; give each arm once.")
    if any(not 0 <= arm.weight_bp <= WHOLE_BP for arm in arms):
        raise errors.Invalid(f"The weight of an arm is 0 to {WHOLE_BP} basis points.")
    total = sum(arm.weight_bp for arm in arms)
    if total != WHOLE_BP:
        raise errors.Invalid(
            f"The weights of a split add up to {WHOLE_BP} basis points, not {total}."
        )


async def history(s: AsyncSession, service: str, limit: int = 100) -> list[Split]:
    """The splits of a service, newest first; the first is the one that is set."""
    query = (
        select(SplitRow)
        .where(col(SplitRow.service) == service)
        .order_by(col(SplitRow.id).desc())
        .limit(limit)
    )
    return [split(row) for row in await s.scalars(query)]


async def add(
    s: AsyncSession,
    service: str,
    arms: Sequence[Arm],
    salt: str,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> Split:
    """Keep a split, its arms by release; the service does not point at it yet."""
    check_arms(arms)
    arms = sorted(arms, key=lambda arm: arm.release)
    for arm in arms:
        await releases.get(s, arm.release)
    row = SplitRow(
        service=service,
        salt=salt,
        arms=msgspec.json.encode(tuple(arms)).decode(),
        set_at_us=at_us,
        set_by=actor,
        intent_id=intent_id,
    )
    s.add(row)
    await s.flush()
    return split(row)


def told(arms: Sequence[Arm]) -> dict[str, int]:
    """Arms as the ledger tells them."""
    return {f"r{arm.release}": arm.weight_bp for arm in arms}


def words(arms: Sequence[Arm]) -> str:
    """Arms as people write them."""
    return " ".join(f"r{arm.release}={arm.weight_bp / 100:g}" for arm in arms)


def split(row: SplitRow) -> Split:
    """The split of a row."""
    return Split(
        id=row.id or 0,
        service=row.service,
        salt=row.salt,
        arms=msgspec.json.decode(row.arms, type=tuple[Arm, ...]),
        set_at_us=row.set_at_us,
        set_by=row.set_by,
        intent_id=row.intent_id,
    )
