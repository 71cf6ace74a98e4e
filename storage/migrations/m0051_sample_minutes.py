"""Schema 51: minutes of samples, packed; control packs those that there are, some at a time."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE sample_minutes (
  kind TEXT NOT NULL,
  minute_s INTEGER NOT NULL,
  subject TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (kind, minute_s, subject)
) STRICT, WITHOUT ROWID;
"""


async def up(connection: AsyncConnection) -> None:
    """Create the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
