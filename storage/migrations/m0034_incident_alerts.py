"""Schema 34: which alerts joined which incident."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE incident_alerts (
  alert_id INTEGER PRIMARY KEY,
  incident_id INTEGER NOT NULL REFERENCES incidents (id),
  rule TEXT NOT NULL,
  joined_at_us INTEGER NOT NULL,
  ended_at_us INTEGER
) STRICT;

CREATE INDEX incident_alerts_by_incident ON incident_alerts (incident_id, joined_at_us);
"""


async def up(connection: AsyncConnection) -> None:
    """Create the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
