"""Schema 26: what a request asked for, beside its text; replays and their items."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE request_texts ADD COLUMN asked TEXT;

CREATE TABLE replays (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  service TEXT NOT NULL,
  releases TEXT NOT NULL,
  since_us INTEGER,
  sample INTEGER NOT NULL,
  expected TEXT,
  holds INTEGER REFERENCES releases (number),
  job_id INTEGER,
  report TEXT,
  asked_at_us INTEGER NOT NULL,
  asked_by TEXT NOT NULL,
  intent_id INTEGER,
  ended_at_us INTEGER
) STRICT;

CREATE INDEX replays_by_job ON replays (job_id);

CREATE TABLE replay_items (
  replay_id INTEGER NOT NULL REFERENCES replays (id),
  position INTEGER NOT NULL,
  request_id TEXT NOT NULL,
  release INTEGER NOT NULL REFERENCES releases (number),
  recorded_at_us INTEGER NOT NULL,
  seed INTEGER,
  asked TEXT NOT NULL,
  before TEXT NOT NULL,
  after TEXT,
  f1 REAL,
  answered_at_us INTEGER,
  PRIMARY KEY (replay_id, position)
) STRICT;

CREATE INDEX replay_items_by_age ON replay_items (recorded_at_us);
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables, and the column of recorded requests."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
