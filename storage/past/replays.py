"""Replays as they were at a past moment: items that were answered later had no answer.

Items are deleted with the texts that they compare. Imported by `app`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, replay_items, replays
from storage.replay_items import Item, ItemRow
from storage.replays import Replay, ReplayRow


async def tail(s: AsyncSession, at_us: int, limit: int = 100) -> list[Replay]:
    """The newest replays up to a moment, newest first."""
    query = select(col(ReplayRow.id)).where(col(ReplayRow.asked_at_us) <= at_us)
    ids = await s.scalars(query.order_by(col(ReplayRow.id).desc()).limit(limit))
    return [await find(s, id, at_us) for id in ids.all() if id is not None]


async def find(s: AsyncSession, id: int, at_us: int) -> Replay:
    """One replay by its number; which release it had loaded is not recorded.

    Raises:
        NotFound: there is no such replay, or it had not been asked for.
    """
    known = await replays.find(s, id)
    if known.asked_at_us > at_us:
        raise errors.NotFound(f"Replay {id} had not been asked for then.")
    if known.ended_at_us is not None and known.ended_at_us <= at_us:
        return known
    return msgspec.structs.replace(known, holds=None, report=None, ended_at_us=None)


async def items(s: AsyncSession, id: int, at_us: int) -> list[Item]:
    """The items that are left of a replay, by position, with the answers that there were."""
    return [
        each
        if each.answered_at_us is None or each.answered_at_us <= at_us
        else msgspec.structs.replace(each, after=None, f1=None, answered_at_us=None)
        for each in await replay_items.of(s, id)
    ]


async def counts(s: AsyncSession, ids: Iterable[int], at_us: int) -> dict[int, tuple[int, int]]:
    """By replay, how many of its items had been answered, and of how many that are left."""
    answered = func.count().filter(col(ItemRow.answered_at_us) <= at_us)
    query = (
        select(col(ItemRow.replay_id), answered, func.count())
        .where(col(ItemRow.replay_id).in_(list(ids)))
        .group_by(col(ItemRow.replay_id))
    )
    return {row[0]: (row[1], row[2]) for row in await s.execute(query)}
