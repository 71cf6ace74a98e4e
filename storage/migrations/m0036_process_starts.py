"""Schema 36: a process that crashed says when it is started again."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql("ALTER TABLE processes ADD COLUMN starts_at_us INTEGER")
