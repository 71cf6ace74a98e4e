"""What the ledger says of a past moment: the last entry before it, and the first one after.

Imported by the other modules of `storage.past`.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import ledger
from storage.ledger import Entry, LedgerRow


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

    With `by_verb` the newest of each verb.
    """
    query = select(func.max(col(LedgerRow.id))).where(
        col(LedgerRow.noun) == noun, col(LedgerRow.at_us).between(since_us, at_us)
    )
    if verbs is not None:
        query = query.where(col(LedgerRow.verb).in_(verbs))
    if keys is not None:
        query = query.where(col(LedgerRow.key).in_(keys))
    groups = [col(LedgerRow.key), col(LedgerRow.verb)] if by_verb else [col(LedgerRow.key)]
    rows = select(LedgerRow).where(col(LedgerRow.id).in_(query.group_by(*groups)))
    return [ledger.entry(row) for row in await s.scalars(rows.order_by(col(LedgerRow.id)))]


async def following(
    s: AsyncSession, noun: str, at_us: int, verbs: Collection[str]
) -> dict[str, Entry]:
    """By key of a thing: the first entry with one of these verbs after a moment.

    What it has as `before` is what held at that moment.
    """
    query = (
        select(func.min(col(LedgerRow.id)))
        .where(
            col(LedgerRow.noun) == noun,
            col(LedgerRow.at_us) > at_us,
            col(LedgerRow.verb).in_(verbs),
        )
        .group_by(col(LedgerRow.key))
    )
    rows = await s.scalars(select(LedgerRow).where(col(LedgerRow.id).in_(query)))
    return {row.key: ledger.entry(row) for row in rows}


async def every(s: AsyncSession, noun: str, at_us: int, verb: str) -> list[Entry]:
    """All entries with a verb up to a moment, oldest first."""
    query = select(LedgerRow).where(
        col(LedgerRow.noun) == noun, col(LedgerRow.verb) == verb, col(LedgerRow.at_us) <= at_us
    )
    return [ledger.entry(row) for row in await s.scalars(query.order_by(col(LedgerRow.id)))]
