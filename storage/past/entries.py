"""What the ledger says of a past moment: the last entry before it, and the first one after.

Imported by the other modules of `storage.past`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from storage import ledger
from storage.ledger import Entry, LedgerRow

_MANY: Final = 5_000


async def last(
    s: AsyncSession,
    noun: str,
    at_us: int,
    *,
    since_us: int = 0,
    verbs: Collection[str] | None = None,
    keys: Collection[str] | None = None,
    by_verb: bool = False,
) -> list[Entry]:
    """The newest entry up to a moment about each thing of a kind, oldest first.

    With `by_verb` the newest of each verb, for which all entries of the kind are read. Without
    `keys` each thing's newest is looked up where the entries are many.
    """
    if keys is not None and not keys:
        return []
    told = [col(LedgerRow.noun) == noun, col(LedgerRow.at_us).between(since_us, at_us)]
    if verbs is not None:
        told.append(col(LedgerRow.verb).in_(verbs))
    if keys is not None:
        told.append(col(LedgerRow.key).in_(keys))
    if by_verb or keys is not None or await _few(s, noun):
        groups = [col(LedgerRow.key), col(LedgerRow.verb)] if by_verb else [col(LedgerRow.key)]
        newest = select(func.max(col(LedgerRow.id))).where(*told).group_by(*groups)
        return await _entries(s, newest)
    told.append(col(LedgerRow.id) <= await ledger.newest_at(s, at_us))
    return await _entries(s, _one_of_each(noun, told, col(LedgerRow.id).desc()))


async def _few(s: AsyncSession, noun: str) -> bool:
    """Whether the entries about a kind of thing are read faster than its keys are looked up."""
    some = select(col(LedgerRow.id)).where(col(LedgerRow.noun) == noun).limit(_MANY).subquery()
    return ((await s.execute(select(func.count()).select_from(some))).scalar() or 0) < _MANY


def _one_of_each(
    noun: str, told: Collection[ColumnElement[bool]], order: ColumnElement[Any]
) -> Select[tuple[int | None]]:
    """The first entry in an order about each thing of a kind.

    Keys come from one to the next by the index, so what is read is as much as there are things, not
    entries.
    """
    other = aliased(LedgerRow)
    least = select(func.min(other.key)).where(col(other.noun) == noun)
    keys = least.cte("keys", recursive=True)
    key = keys.c[0]
    after = select(least.where(col(other.key) > key).scalar_subquery()).where(key.is_not(None))
    keys = keys.union_all(after)
    of = select(col(LedgerRow.id)).where(*told, col(LedgerRow.key) == keys.c[0])
    return select(of.order_by(order).limit(1).correlate(keys).scalar_subquery()).select_from(keys)


async def _entries(s: AsyncSession, ids: Select[Any]) -> list[Entry]:
    rows = select(LedgerRow).where(col(LedgerRow.id).in_(ids)).order_by(col(LedgerRow.id))
    return [ledger.entry(row) for row in await s.scalars(rows)]


async def following(
    s: AsyncSession, noun: str, at_us: int, verbs: Collection[str]
) -> dict[str, Entry]:
    """By key of a thing: the first entry with one of these verbs after a moment.

    What it has as `before` is what held at that moment.
    """
    later = select(col(LedgerRow.id)).where(col(LedgerRow.at_us) > at_us)
    first = (await s.execute(later.order_by(col(LedgerRow.at_us)).limit(1))).scalar()
    if first is None:
        return {}
    told = [
        col(LedgerRow.noun) == noun, col(LedgerRow.id) >= first, col(LedgerRow.at_us) > at_us,
        col(LedgerRow.verb).in_(verbs),
    ]  # fmt: skip
    found = await _entries(s, _one_of_each(noun, told, col(LedgerRow.id).asc()))
    return {entry.key: entry for entry in found}


async def every(s: AsyncSession, noun: str, at_us: int, verb: str) -> list[Entry]:
    """All entries with a verb up to a moment, oldest first."""
    query = select(LedgerRow).where(
        col(LedgerRow.noun) == noun, col(LedgerRow.verb) == verb, col(LedgerRow.at_us) <= at_us
    )
    return [ledger.entry(row) for row in await s.scalars(query.order_by(col(LedgerRow.id)))]
