"""Schema 39: budgets of keys, services and tenants."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE budgets (
  scope TEXT NOT NULL,
  subject TEXT NOT NULL,
  period TEXT NOT NULL,
  limit_micro INTEGER NOT NULL,
  warn_percent INTEGER NOT NULL,
  refuse INTEGER NOT NULL,
  set_at_us INTEGER NOT NULL,
  set_by TEXT NOT NULL,
  intent_id INTEGER,
  PRIMARY KEY (scope, subject, period)
) STRICT, WITHOUT ROWID;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
