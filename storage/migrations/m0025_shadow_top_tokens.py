"""Schema 25: how many tokens of stable's answer a candidate would have chosen itself."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column; it is unknown for what was compared before."""
    await connection.exec_driver_sql("ALTER TABLE shadow_comparisons ADD COLUMN top_tokens INTEGER")
