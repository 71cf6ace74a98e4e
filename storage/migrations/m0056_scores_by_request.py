"""Schema 56: online scores are kept by the number of their request, with the A/B test it was in.

A guard counts what was scored since its last look, which is a range of the table, and the rates of
a stretch of time come from an index alone. Scores of requests that are gone go, too.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE numbered_scores (
  service TEXT NOT NULL,
  number INTEGER NOT NULL,
  scorer TEXT NOT NULL,
  release INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  ab_test INTEGER,
  passed INTEGER NOT NULL,
  PRIMARY KEY (service, number, scorer)
) STRICT, WITHOUT ROWID;

INSERT INTO numbered_scores
  SELECT s.service, r.number, s.scorer, s.release, s.at_us, r.ab_test, s.passed
  FROM online_scores s CROSS JOIN request_rows r ON r.id = request_key(s.request_id)
  ORDER BY 1, 2, 3;

DROP TABLE online_scores;

ALTER TABLE numbered_scores RENAME TO online_scores;

CREATE INDEX online_scores_by_time ON online_scores (at_us, release, passed);
"""


async def up(connection: AsyncConnection) -> None:
    """Move the rows."""
    here: Any = connection
    database = here.connection.connection.driver_connection
    database.create_function("request_key", 1, key, deterministic=True)
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)


def key(id: str) -> str | bytes:
    """An id as requests keep it: `req_` and pairs of hex digits as their bytes."""
    digits = id.removeprefix("req_")
    if digits in {id, ""} or len(digits) % 2 or digits.strip("0123456789abcdef"):
        return id
    return bytes.fromhex(digits)
