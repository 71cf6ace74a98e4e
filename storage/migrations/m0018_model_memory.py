"""Schema 18: what loading a model version takes, as measured by a dry load when it was added.

Versions from before have none until their file is added again.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql("ALTER TABLE models ADD COLUMN memory TEXT")
