"""Schema 49: what alert rules look back over and no sample has, for a control that restarts."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE alert_points (
  series TEXT NOT NULL,
  at_s INTEGER NOT NULL,
  value REAL,
  PRIMARY KEY (series, at_s)
) STRICT, WITHOUT ROWID;
"""


async def up(connection: AsyncConnection) -> None:
    """Make the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
