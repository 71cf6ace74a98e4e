"""Schema 32: runs that stop for a person, who holds a run, and the timeline of each run."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE runs ADD COLUMN pace TEXT NOT NULL DEFAULT 'through';
ALTER TABLE runs ADD COLUMN alone TEXT;
ALTER TABLE runs ADD COLUMN taken_by TEXT;
ALTER TABLE runs ADD COLUMN driver_intent_id INTEGER;
ALTER TABLE runs ADD COLUMN waits_for TEXT;
ALTER TABLE runs ADD COLUMN waits_at TEXT;
ALTER TABLE runs ADD COLUMN book TEXT;

ALTER TABLE run_steps ADD COLUMN before TEXT;
ALTER TABLE run_steps ADD COLUMN after TEXT;
ALTER TABLE run_steps ADD COLUMN outcome TEXT;
ALTER TABLE run_steps ADD COLUMN goto TEXT;
ALTER TABLE run_steps ADD COLUMN go_intent_id INTEGER;

CREATE TABLE run_events (
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES runs (id),
  at_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  kind TEXT NOT NULL,
  step TEXT,
  sentence TEXT NOT NULL,
  intent_id INTEGER
) STRICT;

UPDATE runs SET driver_intent_id = intent_id;

CREATE INDEX run_events_of_run ON run_events (run_id, id);
CREATE INDEX runs_driven ON runs (driver_intent_id);
CREATE INDEX runs_open ON runs (id) WHERE state IN ('running', 'waiting');
"""


async def up(connection: AsyncConnection) -> None:
    """Add the columns and the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
