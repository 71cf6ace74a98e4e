"""Schema 20: rollouts, their moves, and what each look at a candidate found."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE rollouts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  service TEXT NOT NULL,
  revision INTEGER NOT NULL,
  strategy TEXT NOT NULL,
  stable INTEGER REFERENCES releases (number),
  candidate INTEGER NOT NULL REFERENCES releases (number),
  steps TEXT NOT NULL,
  guards TEXT NOT NULL,
  load_timeout_s INTEGER NOT NULL,
  rollback_window_s INTEGER NOT NULL,
  undoes INTEGER REFERENCES rollouts (id),
  state TEXT NOT NULL,
  why TEXT NOT NULL,
  sentence TEXT NOT NULL,
  version INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  resumes TEXT,
  step INTEGER,
  step_began_us INTEGER,
  weight_bp INTEGER NOT NULL,
  base_split_id INTEGER REFERENCES splits (id),
  split_id INTEGER REFERENCES splits (id),
  smoke_job_id INTEGER,
  exposed_at_us INTEGER,
  evidence TEXT NOT NULL,
  keep_until_us INTEGER,
  impact TEXT,
  began_at_us INTEGER NOT NULL,
  started_at_us INTEGER NOT NULL,
  started_by TEXT NOT NULL,
  intent_id INTEGER,
  moved_at_us INTEGER NOT NULL,
  ended_at_us INTEGER
) STRICT;

CREATE UNIQUE INDEX rollouts_by_service ON rollouts (service, revision);

CREATE INDEX rollouts_to_do ON rollouts (id)
  WHERE ended_at_us IS NULL OR keep_until_us > 0;

CREATE TABLE rollout_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  rollout_id INTEGER NOT NULL REFERENCES rollouts (id),
  at_us INTEGER NOT NULL,
  before TEXT,
  after TEXT NOT NULL,
  step INTEGER,
  weight_bp INTEGER NOT NULL,
  why TEXT NOT NULL,
  sentence TEXT NOT NULL,
  actor TEXT NOT NULL,
  intent_id INTEGER
) STRICT;

CREATE INDEX rollout_events_by_rollout ON rollout_events (rollout_id, id);

CREATE TABLE rollout_looks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  rollout_id INTEGER NOT NULL REFERENCES rollouts (id),
  attempt INTEGER NOT NULL,
  step INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  guard TEXT NOT NULL,
  n INTEGER NOT NULL,
  events INTEGER NOT NULL,
  harm_e REAL NOT NULL,
  safety_e REAL NOT NULL,
  low REAL NOT NULL,
  high REAL NOT NULL,
  needed INTEGER,
  verdict TEXT NOT NULL,
  sentence TEXT NOT NULL
) STRICT;

CREATE INDEX rollout_looks_by_rollout ON rollout_looks (rollout_id, id);
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
