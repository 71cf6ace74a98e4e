"""Schema 5: durable jobs with their steps and logs, and what was checked of a model version."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  target TEXT NOT NULL,
  arguments TEXT NOT NULL,
  actor TEXT NOT NULL,
  intent_id INTEGER UNIQUE REFERENCES intents (id),
  state TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  max_failures INTEGER NOT NULL,
  not_before_us INTEGER NOT NULL,
  pid INTEGER,
  heartbeat_at_us INTEGER,
  step TEXT,
  done INTEGER,
  total INTEGER,
  unit TEXT,
  rate_per_s INTEGER,
  reason TEXT,
  created_at_us INTEGER NOT NULL,
  started_at_us INTEGER,
  ended_at_us INTEGER
) STRICT;
CREATE INDEX jobs_unfinished ON jobs (id) WHERE ended_at_us IS NULL;

CREATE TABLE job_steps (
  job_id INTEGER NOT NULL REFERENCES jobs (id),
  name TEXT NOT NULL,
  position INTEGER NOT NULL,
  result TEXT,
  started_at_us INTEGER,
  ended_at_us INTEGER,
  PRIMARY KEY (job_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_lines (
  id INTEGER PRIMARY KEY,
  job_id INTEGER NOT NULL REFERENCES jobs (id),
  at_us INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE INDEX job_lines_by_job ON job_lines (job_id, id);

ALTER TABLE models ADD COLUMN checks TEXT NOT NULL DEFAULT '{}';
ALTER TABLE models ADD COLUMN source TEXT;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables of jobs and the columns of models."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
