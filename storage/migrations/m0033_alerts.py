"""Schema 33: versions of alert rules, alerts with their moves, and how far evaluation is."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE alert_rule_versions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  body TEXT,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  intent_id INTEGER,
  UNIQUE (name, version)
) STRICT;

CREATE TABLE alerts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  rule TEXT NOT NULL,
  rule_version INTEGER NOT NULL,
  fingerprint TEXT NOT NULL,
  labels TEXT NOT NULL,
  severity TEXT NOT NULL,
  summary TEXT NOT NULL,
  runbook TEXT,
  state TEXT NOT NULL,
  why TEXT NOT NULL,
  value REAL,
  began_at_us INTEGER NOT NULL,
  began_clock_us INTEGER NOT NULL,
  fired_at_us INTEGER,
  unmet_clock_us INTEGER,
  no_data_since_us INTEGER,
  ended_at_us INTEGER,
  acknowledged_at_us INTEGER,
  acknowledged_by TEXT,
  acknowledged_reason TEXT
) STRICT;

CREATE UNIQUE INDEX alerts_active ON alerts (rule, fingerprint) WHERE ended_at_us IS NULL;

CREATE INDEX alerts_by_end ON alerts (ended_at_us) WHERE ended_at_us IS NOT NULL;

CREATE TABLE alert_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  alert_id INTEGER NOT NULL REFERENCES alerts (id),
  at_us INTEGER NOT NULL,
  before TEXT,
  after TEXT NOT NULL,
  why TEXT NOT NULL,
  sentence TEXT NOT NULL,
  value REAL,
  actor TEXT NOT NULL,
  intent_id INTEGER
) STRICT;

CREATE INDEX alert_events_by_alert ON alert_events (alert_id, id);

CREATE TABLE alert_rounds (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  clock_us INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  instant_s INTEGER NOT NULL
) STRICT;

CREATE TABLE alert_rule_health (
  rule TEXT PRIMARY KEY,
  outcome TEXT NOT NULL,
  sentence TEXT NOT NULL,
  since_us INTEGER NOT NULL
) STRICT;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
