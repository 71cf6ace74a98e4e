"""Schema 8: samples of workers belong to instances; what was one worker was the only instance."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
UPDATE samples SET kind = 'instance', subject = subject || ':1' WHERE kind = 'worker';
"""


async def up(connection: AsyncConnection) -> None:
    """Rename them."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
