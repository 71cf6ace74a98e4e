"""Schema 29: roll-ups of arms and tenants, and the second up to which they are complete.

`tenants_since_s` is the first second whose requests are counted by tenant: those of a store that
was made by an earlier version are not, and are found among the requests themselves.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE rollups (
  kind TEXT NOT NULL,
  span_s INTEGER NOT NULL,
  begin_s INTEGER NOT NULL,
  subject TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (kind, span_s, begin_s, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_marks (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  until_s INTEGER NOT NULL,
  tenants_since_s INTEGER NOT NULL,
  seconds_from_s INTEGER NOT NULL DEFAULT 0,
  minutes_from_s INTEGER NOT NULL DEFAULT 0,
  hours_from_s INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO rollup_marks (id, until_s, tenants_since_s)
  SELECT 1, coalesce((SELECT min(second) FROM samples WHERE kind = 'arm') / 86400 * 86400, 0),
         coalesce((SELECT max(second) FROM samples WHERE kind = 'arm') + 1, 0);
"""


async def up(connection: AsyncConnection) -> None:
    """Create them."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
