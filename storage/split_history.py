"""The rows of splits: one for each split that was ever set, none of them ever changed.

Written by `storage.services` alone, which points each service at its current split; read through
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, release_tasks, releases, splits, sticky_buckets
from storage.splits import Arm, Split
from storage.sticky_buckets import Range


class SplitRow(SQLModel, table=True):
    """The row of a split; arms and ranges are JSON, without ranges they follow from the weights."""

    __tablename__: ClassVar[str] = "splits"

    id: int | None = Field(default=None, primary_key=True)
    service: str
    salt: str
    arms: str
    ranges: str | None
    restores: int | None
    set_at_us: int
    set_by: str
    intent_id: int | None


async def add(
    s: AsyncSession,
    *,
    service: str,
    arms: Sequence[Arm],
    ranges: Sequence[Range],
    salt: str,
    restores: int | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> Split:
    """Add a split, its arms sorted by release; the service does not point at it yet.

    Raises:
        Invalid: the weights do not add up to 10000, a release is named twice, or the releases
            compute different things.
        NotFound: there is no such release.
    """
    splits.check_arms(arms)
    arms = sorted(arms, key=lambda arm: arm.release)
    await releases.check(s, [arm.release for arm in arms])
    await release_tasks.check_alike(s, [arm.release for arm in arms])
    row = SplitRow(
        service=service,
        salt=salt,
        arms=msgspec.json.encode(tuple(arms)).decode(),
        ranges=msgspec.json.encode(tuple(ranges)).decode(),
        restores=restores,
        set_at_us=at_us,
        set_by=actor,
        intent_id=intent_id,
    )
    s.add(row)
    await s.flush()
    return record(row)


async def tail(s: AsyncSession, service: str, first: int, limit: int) -> list[Split]:
    """The splits of a service from the one with id `first` on, newest first."""
    query = (
        select(SplitRow)
        .where(col(SplitRow.service) == service, col(SplitRow.id) >= first)
        .order_by(col(SplitRow.id).desc())
        .limit(limit)
    )
    return [record(row) for row in await s.scalars(query)]


async def find(s: AsyncSession, service: str, first: int, id: int) -> Split:
    """One split of a service by its id.

    Raises:
        NotFound: the service never had it.
    """
    row = await s.get(SplitRow, id)
    if row is None or row.service != service or id < first:
        raise errors.NotFound(
            f"{service} never had a split {id}; `paddock services show {service}` lists its splits."
        )
    return record(row)


async def before(s: AsyncSession, service: str, first: int, id: int) -> Split | None:
    """The newest split of a service before the one with this id, from `first` on."""
    query = (
        select(SplitRow)
        .where(col(SplitRow.service) == service, col(SplitRow.id) >= first, col(SplitRow.id) < id)
        .order_by(col(SplitRow.id).desc())
        .limit(1)
    )
    row = (await s.scalars(query)).first()
    return None if row is None else record(row)


async def of_intent(s: AsyncSession, service: str, intent_id: int) -> Split | None:
    """The split that an intent set, if it set one."""
    query = select(SplitRow).where(
        col(SplitRow.service) == service, col(SplitRow.intent_id) == intent_id
    )
    row = (await s.scalars(query)).first()
    return None if row is None else record(row)


def record(row: SplitRow) -> Split:
    """The split of a row."""
    arms = msgspec.json.decode(row.arms, type=tuple[Arm, ...])
    return Split(
        id=row.id or 0,
        service=row.service,
        salt=row.salt,
        arms=arms,
        ranges=sticky_buckets.lay_out(dict(splits.pairs(arms)))
        if row.ranges is None
        else msgspec.json.decode(row.ranges, type=tuple[Range, ...]),
        restores=row.restores,
        set_at_us=row.set_at_us,
        set_by=row.set_by,
        intent_id=row.intent_id,
    )
