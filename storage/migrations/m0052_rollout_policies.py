"""Schema 52: how the next release of a service comes to its traffic, as its manifest says."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql("ALTER TABLE services ADD COLUMN rollout_policy TEXT")
