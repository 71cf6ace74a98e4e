"""What the ledger says of a past moment: the last entry before it, and the first one after.

Imported by the other modules of `storage.past`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
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

    With `by_verb` the newest of each verb, for which all entries of the kind are read. Without it
    each thing's newest is looked up where the entries are many.
    """
    told = [col(LedgerRow.noun) == noun, col(LedgerRow.at_us).between(since_us, at_us)]
    if verbs is not None:
        told.append(col(LedgerRow.verb).in_(verbs))
    if by_verb or await _few(s, noun):
        if keys is not None:
            told.append(col(LedgerRow.key).in_(keys))
        groups = [col(LedgerRow.key), col(LedgerRow.verb)] if by_verb else [col(LedgerRow.key)]
        newest = select(func.max(col(LedgerRow.id))).where(*told).group_by(*groups)
        rows = select(LedgerRow).where(col(LedgerRow.id).in_(newest))
        return [ledger.entry(row) for row in await s.scalars(rows.order_by(col(LedgerRow.id)))]
    found = []
    for key in await _keys(s, noun) if keys is None else sorted(set(keys)):
        query = select(LedgerRow).where(*told, col(LedgerRow.key) == key)
        row = (await s.scalars(query.order_by(col(LedgerRow.id).desc()).limit(1))).first()
        if row is not None:
            found.append(ledger.entry(row))
    return sorted(found, key=lambda entry: entry.id)


async def _few(s: AsyncSession, noun: str) -> bool:
    """Whether the entries about a kind of thing are read faster than its keys are looked up."""
    some = select(col(LedgerRow.id)).where(col(LedgerRow.noun) == noun).limit(_MANY).subquery()
    return ((await s.execute(select(func.count()).select_from(some))).scalar() or 0) < _MANY


async def _keys(s: AsyncSession, noun: str) -> list[str]:
    """The keys of all entries about a kind of thing, from one to the next by the index."""
    found: list[str] = []
    while True:
        query = select(func.min(col(LedgerRow.key))).where(col(LedgerRow.noun) == noun)
        if found:
            query = query.where(col(LedgerRow.key) > found[-1])
        key = (await s.execute(query)).scalar()
        if key is None:
            return found
        found.append(key)


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
    found = {}
    for key in await _keys(s, noun):
        query = select(LedgerRow).where(
            col(LedgerRow.noun) == noun, col(LedgerRow.key) == key, col(LedgerRow.id) >= first,
            col(LedgerRow.at_us) > at_us, col(LedgerRow.verb).in_(verbs),
        )  # fmt: skip
        row = (await s.scalars(query.order_by(col(LedgerRow.id)).limit(1))).first()
        if row is not None:
            found[key] = ledger.entry(row)
    return found


async def every(s: AsyncSession, noun: str, at_us: int, verb: str) -> list[Entry]:
    """All entries with a verb up to a moment, oldest first."""
    query = select(LedgerRow).where(
        col(LedgerRow.noun) == noun, col(LedgerRow.verb) == verb, col(LedgerRow.at_us) <= at_us
    )
    return [ledger.entry(row) for row in await s.scalars(query.order_by(col(LedgerRow.id)))]
