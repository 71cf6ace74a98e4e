"""Schema 23: A/B tests, their moves, the units they exposed, and the newest verdicts.

A request of a running test names the test and carries the keyed hash of its unit.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE requests ADD COLUMN ab_test INTEGER;

ALTER TABLE requests ADD COLUMN unit TEXT;

CREATE INDEX requests_by_ab_test ON requests (ab_test, number) WHERE ab_test IS NOT NULL;

CREATE TABLE ab_tests (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  service TEXT NOT NULL,
  control INTEGER NOT NULL REFERENCES releases (number),
  arms TEXT NOT NULL,
  goals TEXT NOT NULL,
  guards TEXT NOT NULL,
  least_units INTEGER NOT NULL,
  at_most_s INTEGER NOT NULL,
  load_timeout_s INTEGER NOT NULL,
  promotes INTEGER NOT NULL,
  label TEXT,
  salt TEXT NOT NULL,
  state TEXT NOT NULL,
  why TEXT NOT NULL,
  sentence TEXT NOT NULL,
  version INTEGER NOT NULL,
  base_split_id INTEGER REFERENCES splits (id),
  split_id INTEGER REFERENCES splits (id),
  evidence TEXT NOT NULL,
  winner INTEGER REFERENCES releases (number),
  exposed_at_us INTEGER,
  started_at_us INTEGER NOT NULL,
  started_by TEXT NOT NULL,
  intent_id INTEGER,
  moved_at_us INTEGER NOT NULL,
  ended_at_us INTEGER
) STRICT;

CREATE INDEX ab_tests_by_service ON ab_tests (service, id);

CREATE INDEX ab_tests_open ON ab_tests (id) WHERE ended_at_us IS NULL;

CREATE TABLE ab_test_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ab_test_id INTEGER NOT NULL REFERENCES ab_tests (id),
  at_us INTEGER NOT NULL,
  before TEXT,
  after TEXT NOT NULL,
  why TEXT NOT NULL,
  sentence TEXT NOT NULL,
  actor TEXT NOT NULL,
  intent_id INTEGER
) STRICT;

CREATE INDEX ab_test_events_by_test ON ab_test_events (ab_test_id, id);

CREATE TABLE ab_test_units (
  ab_test_id INTEGER NOT NULL REFERENCES ab_tests (id),
  unit TEXT NOT NULL,
  release INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  failed INTEGER,
  latency_us INTEGER,
  ttft_us INTEGER,
  answer_tokens INTEGER,
  compute_us INTEGER,
  score INTEGER,
  correct INTEGER,
  PRIMARY KEY (ab_test_id, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE ab_test_looks (
  ab_test_id INTEGER NOT NULL REFERENCES ab_tests (id),
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  release INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  n INTEGER NOT NULL,
  effect REAL,
  low REAL,
  high REAL,
  needed INTEGER,
  verdict TEXT NOT NULL,
  sentence TEXT NOT NULL,
  PRIMARY KEY (ab_test_id, kind, name, release)
) STRICT, WITHOUT ROWID;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables, and the columns of requests."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
