"""Insert rows, and leave, update or add to those that are there already.

Imported by `storage.store`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects.sqlite import Insert, insert
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
        await session.execute(_leaving(table, tuple(key)), list(rows))


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
    if rows:
        await session.execute(_updating(table, tuple(rows[0]), tuple(key)), list(rows))


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
    if rows:
        await session.execute(_adding(table, tuple(rows[0]), tuple(key)), list(rows))


# Building a statement takes longer than executing it, and a few come every second.


@functools.cache
def _leaving(table: type[SQLModel], key: tuple[str, ...]) -> Insert:
    return insert(table).on_conflict_do_nothing(index_elements=list(key))


@functools.cache
def _updating(table: type[SQLModel], names: tuple[str, ...], key: tuple[str, ...]) -> Insert:
    statement = insert(table)
    changed = {name: statement.excluded[name] for name in names if name not in key}
    return statement.on_conflict_do_update(index_elements=list(key), set_=changed)


@functools.cache
def _adding(table: type[SQLModel], names: tuple[str, ...], key: tuple[str, ...]) -> Insert:
    statement = insert(table)
    sums = {
        name: getattr(table, name) + statement.excluded[name] for name in names if name not in key
    }
    return statement.on_conflict_do_update(index_elements=list(key), set_=sums)
