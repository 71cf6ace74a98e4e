"""Schema 42: how a service follows a label that moves: at once, or by a rollout."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE services ADD COLUMN on_label TEXT NOT NULL DEFAULT 'at_once';
"""


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
