"""Schema 19: an entry of the ledger says why, where no intent does: a crash, a restore."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    await connection.exec_driver_sql(
        "ALTER TABLE ledger ADD COLUMN reason TEXT NOT NULL DEFAULT ''"
    )
