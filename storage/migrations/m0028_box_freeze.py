"""Schema 28: the freeze of the whole box."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE box_freeze (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  frozen_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  frozen_at_us INTEGER NOT NULL
) STRICT;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
