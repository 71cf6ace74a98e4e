"""Schema 2: runs of runbooks, step by step."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  runbook TEXT NOT NULL,
  intent_id INTEGER NOT NULL UNIQUE REFERENCES intents (id),
  actor TEXT NOT NULL,
  inputs TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  began_at_us INTEGER NOT NULL,
  ended_at_us INTEGER
) STRICT;

CREATE TABLE run_steps (
  run_id INTEGER NOT NULL REFERENCES runs (id),
  name TEXT NOT NULL,
  position INTEGER NOT NULL,
  looked TEXT,
  as_expected INTEGER,
  intent_id INTEGER,
  sentence TEXT,
  began_at_us INTEGER NOT NULL,
  ended_at_us INTEGER,
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;
"""


async def up(connection: AsyncConnection) -> None:
    """Create both tables."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
