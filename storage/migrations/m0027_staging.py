"""Schema 27: services that are the staging of another; releases that are retired."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE services ADD COLUMN staging_of TEXT;

CREATE TABLE retired_releases (
  release INTEGER PRIMARY KEY REFERENCES releases (number),
  at_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
"""


async def up(connection: AsyncConnection) -> None:
    """Add the column and the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
