"""Schema 41: drills."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE drills (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  intent_id INTEGER NOT NULL UNIQUE REFERENCES intents (id),
  actor TEXT NOT NULL,
  state TEXT NOT NULL,
  began_at_us INTEGER NOT NULL,
  injected_at_us INTEGER,
  detected_at_us INTEGER,
  acted_at_us INTEGER,
  recovered_at_us INTEGER,
  ended_at_us INTEGER,
  detected_by TEXT,
  acted_by TEXT,
  run_id INTEGER,
  reason TEXT
) STRICT;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
