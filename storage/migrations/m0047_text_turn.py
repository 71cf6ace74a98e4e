"""Schema 47: a recorded answer that is more than its text keeps its turn of the conversation."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Earlier answers have none."""
    await connection.exec_driver_sql("ALTER TABLE request_texts ADD COLUMN turn TEXT")
