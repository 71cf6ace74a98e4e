"""Schema 37: silences, receivers of alerts, the groups they were told of, and the outbox."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE silences (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  matchers TEXT NOT NULL,
  starts_at_us INTEGER NOT NULL,
  ends_at_us INTEGER NOT NULL,
  comment TEXT NOT NULL,
  maintenance TEXT,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  intent_id INTEGER,
  ended_at_us INTEGER,
  ended_by TEXT
) STRICT;

CREATE INDEX silences_by_end ON silences (ends_at_us);

CREATE TABLE alert_receivers (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  shown TEXT NOT NULL,
  secret TEXT NOT NULL,
  signing TEXT,
  matchers TEXT NOT NULL,
  group_by TEXT NOT NULL,
  group_wait_s INTEGER NOT NULL,
  group_interval_s INTEGER NOT NULL,
  repeat_interval_s INTEGER NOT NULL,
  send_resolved INTEGER NOT NULL,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE alert_groups (
  receiver TEXT NOT NULL,
  key TEXT NOT NULL,
  opened_clock_us INTEGER NOT NULL,
  flushed_clock_us INTEGER,
  told_clock_us INTEGER,
  told TEXT NOT NULL,
  PRIMARY KEY (receiver, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE notifications (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT UNIQUE,
  receiver TEXT NOT NULL,
  group_key TEXT NOT NULL,
  status TEXT NOT NULL,
  title TEXT NOT NULL,
  text TEXT NOT NULL,
  body TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  created_at_us INTEGER NOT NULL,
  next_at_us INTEGER NOT NULL,
  error TEXT,
  ended_at_us INTEGER
) STRICT;

CREATE INDEX notifications_to_send ON notifications (receiver, id) WHERE ended_at_us IS NULL;

CREATE INDEX notifications_by_end ON notifications (ended_at_us) WHERE ended_at_us IS NOT NULL;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
