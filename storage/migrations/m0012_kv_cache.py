"""Schema 12: a model version knows how much KV cache a token takes, as its header says.

Versions from before have none until their file is added again.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql("ALTER TABLE models ADD COLUMN kv_bytes_per_token INTEGER")
