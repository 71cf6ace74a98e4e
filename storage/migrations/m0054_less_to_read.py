"""Schema 54: packed minutes take two thirds of the room, and restarts are found at once.

Most minutes are larger than what a page of an index holds of an entry, so in a table WITHOUT ROWID
each takes a page of its own besides. In an ordinary table several share one. Their keys alone are
sorted, as a sort with the bodies would need as much room again where temporary files are; without a
LIMIT, SQLite leaves out the order of a part of a join.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE packed_minutes (
  kind TEXT NOT NULL,
  minute_s INTEGER NOT NULL,
  subject TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (kind, minute_s, subject)
) STRICT;

WITH ordered AS MATERIALIZED
  (SELECT kind, minute_s, subject FROM sample_minutes ORDER BY minute_s, kind, subject LIMIT -1)
INSERT INTO packed_minutes
  SELECT kind, minute_s, subject, body
  FROM ordered CROSS JOIN sample_minutes USING (kind, minute_s, subject);

DROP TABLE sample_minutes;

ALTER TABLE packed_minutes RENAME TO sample_minutes;

CREATE INDEX ledger_restarts ON ledger (noun, after, key, at_us) WHERE before = '"crashed"';
"""


async def up(connection: AsyncConnection) -> None:
    """Move the rows."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
