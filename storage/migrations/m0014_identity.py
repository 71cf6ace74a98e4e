"""Schema 14: a store has an id, so that another file in its place is recognised."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """One row with a random id."""
    await connection.exec_driver_sql("CREATE TABLE store (id TEXT PRIMARY KEY) STRICT")
    await connection.exec_driver_sql("INSERT INTO store (id) VALUES (lower(hex(randomblob(16))))")
