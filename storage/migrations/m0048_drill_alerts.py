"""Schema 48: a drill has the alert that detected its fault, and when the figure behind it did.

Until now a fault was detected by that figure; drills that were run before have no alert.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Add the columns."""
    for column in ("measured_at_us INTEGER", "measured_by TEXT", "alert_id INTEGER"):
        await connection.exec_driver_sql(f"ALTER TABLE drills ADD COLUMN {column}")
    await connection.exec_driver_sql(
        "UPDATE drills SET measured_at_us = detected_at_us, measured_by = detected_by"
    )
