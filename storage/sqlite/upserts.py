"""Insert rows, and leave, update or add to those that are there already.

Imported by `storage.store`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel


async def insert_new(
    session: AsyncSession,
    table: type[SQLModel],
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
) -> None:
    """Insert rows; one whose `key` columns are taken changes nothing.

    As `upsert` otherwise.
    """
    if rows:
        statement = insert(table).on_conflict_do_nothing(index_elements=list(key))
        await session.execute(statement, list(rows))


async def upsert(
    session: AsyncSession,
    table: type[SQLModel],
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
) -> None:
    """Insert rows; a row whose `key` columns are taken updates its other columns instead.

    All rows have the same columns. `key` is a primary key or a unique constraint of the table.
    """
    if not rows:
        return
    statement = insert(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
    await session.execute(
        statement.on_conflict_do_update(index_elements=list(key), set_=changed), list(rows)
    )


async def accumulate(
    session: AsyncSession,
    table: type[SQLModel],
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
) -> None:
    """Insert rows; a row whose `key` columns are taken is added to the other columns instead.

    As `upsert` otherwise.
    """
    if not rows:
        return
    statement = insert(table)
    columns = {name: getattr(table, name) for name in rows[0] if name not in key}
    sums = {name: column + statement.excluded[name] for name, column in columns.items()}
    await session.execute(
        statement.on_conflict_do_update(index_elements=list(key), set_=sums), list(rows)
    )
