"""Schema 4: an intent knows for which run it was asked, and a run asks for each step once."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE intents ADD COLUMN behalf INTEGER;

CREATE UNIQUE INDEX intents_of_runs ON intents (behalf, reason) WHERE behalf IS NOT NULL;
"""


async def up(connection: AsyncConnection) -> None:
    """Add the column and its index."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
