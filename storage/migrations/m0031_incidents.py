"""Schema 31: incidents, their events, and what people write afterwards."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE incidents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT NOT NULL,
  service TEXT,
  severity TEXT NOT NULL,
  state TEXT NOT NULL,
  roles TEXT NOT NULL,
  version INTEGER NOT NULL,
  began_at_us INTEGER NOT NULL,
  opened_at_us INTEGER NOT NULL,
  opened_by TEXT NOT NULL,
  stable_at_us INTEGER,
  closed_at_us INTEGER,
  moved_at_us INTEGER NOT NULL,
  intent_id INTEGER
) STRICT;

CREATE INDEX incidents_open ON incidents (id) WHERE closed_at_us IS NULL;

CREATE TABLE incident_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  incident_id INTEGER NOT NULL REFERENCES incidents (id),
  at_us INTEGER NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  kind TEXT NOT NULL,
  sentence TEXT NOT NULL,
  actor TEXT NOT NULL,
  intent_id INTEGER,
  entry_id INTEGER
) STRICT;

CREATE INDEX incident_events_by_incident ON incident_events (incident_id, at_us);

CREATE TABLE post_mortem_sections (
  incident_id INTEGER NOT NULL REFERENCES incidents (id),
  section TEXT NOT NULL,
  text TEXT NOT NULL,
  written_by TEXT NOT NULL,
  written_at_us INTEGER NOT NULL,
  PRIMARY KEY (incident_id, section)
) STRICT, WITHOUT ROWID;

CREATE TABLE action_items (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  incident_id INTEGER NOT NULL REFERENCES incidents (id),
  title TEXT NOT NULL,
  owner TEXT NOT NULL,
  added_by TEXT NOT NULL,
  added_at_us INTEGER NOT NULL,
  done_at_us INTEGER,
  done_by TEXT
) STRICT;

CREATE INDEX action_items_by_incident ON action_items (incident_id, id);

CREATE INDEX action_items_to_do ON action_items (id) WHERE done_at_us IS NULL;

CREATE INDEX ledger_by_time ON ledger (at_us);
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables, and find changes by their time."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
