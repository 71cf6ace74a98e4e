"""Schema 46: the files of a model version that is split into several."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql("ALTER TABLE models ADD COLUMN parts TEXT")
