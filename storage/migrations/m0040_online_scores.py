"""Schema 40: shares of answers that are scored after the fact, and how they did."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE online_scoring (
  service TEXT PRIMARY KEY,
  share_bp INTEGER NOT NULL,
  cursor INTEGER NOT NULL,
  set_at_us INTEGER NOT NULL,
  set_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE online_scores (
  request_id TEXT NOT NULL,
  scorer TEXT NOT NULL,
  service TEXT NOT NULL,
  release INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  passed INTEGER NOT NULL,
  PRIMARY KEY (request_id, scorer)
) STRICT, WITHOUT ROWID;
CREATE INDEX online_scores_by_time ON online_scores (at_us);
"""


async def up(connection: AsyncConnection) -> None:
    """Create the tables."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
