"""Schema 9: the OpenAI-compatible servers that releases may name, and whether they answer."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE upstreams (
  name TEXT PRIMARY KEY,
  url TEXT NOT NULL,
  secret TEXT,
  max_connections INTEGER NOT NULL,
  connect_timeout_us INTEGER NOT NULL,
  first_event_timeout_us INTEGER NOT NULL,
  read_timeout_us INTEGER NOT NULL,
  health_path TEXT NOT NULL,
  metrics_path TEXT,
  extensions INTEGER NOT NULL,
  scores INTEGER,
  created_at_us INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE upstream_health (
  name TEXT PRIMARY KEY,
  reason TEXT,
  since_us INTEGER NOT NULL
) STRICT;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
