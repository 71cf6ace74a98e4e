"""Schema 55: the key that signs the messages of a service's rollouts."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE services ADD COLUMN webhook_secret TEXT;
"""


async def up(connection: AsyncConnection) -> None:
    """Add the column."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
