"""Schema 13: a process that runs without any sign of life is recorded as silent, and since when."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql("ALTER TABLE processes ADD COLUMN silent_since_us INTEGER")
