"""Schema 22: templates that took their renderer process along, so that a restart does not run them.

Until now the gateway forgot them when it ended.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the table."""
    await connection.exec_driver_sql(
        "CREATE TABLE quarantine (key TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, "
        "reason TEXT NOT NULL, at_us INTEGER NOT NULL)"
    )
