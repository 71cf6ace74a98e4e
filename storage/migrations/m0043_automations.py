"""Schema 43: runbooks that start by themselves."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE automations (
  runbook TEXT PRIMARY KEY,
  content TEXT NOT NULL,
  enabled_by TEXT NOT NULL,
  intent_id INTEGER NOT NULL REFERENCES intents (id),
  enabled_at_us INTEGER NOT NULL,
  event_id INTEGER NOT NULL,
  said TEXT,
  said_at_us INTEGER
) STRICT;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
