"""Schema 3: a run keeps the hash of the runbook that it began with; older runs know none."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN content TEXT")
