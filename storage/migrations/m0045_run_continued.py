"""Schema 45: that a person let a step of a run act is called `continued` in its timeline."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Rename it in the runs that there are."""
    await connection.exec_driver_sql(
        "UPDATE run_events SET kind = 'continued' WHERE kind = 'went on'"
    )
