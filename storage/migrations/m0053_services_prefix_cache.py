"""Schema 53: whether a service keeps its tenants apart in what workers cache of prompts."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE services ADD COLUMN prefix_cache TEXT NOT NULL DEFAULT 'shared';
"""


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
