"""Schema 24: what candidates made of copies of requests, beside stable's answers."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
CREATE TABLE shadow_comparisons (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  rollout_id INTEGER NOT NULL REFERENCES rollouts (id),
  attempt INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  request_id TEXT NOT NULL,
  copy_id TEXT NOT NULL,
  error_code TEXT,
  exact INTEGER NOT NULL,
  f1 REAL NOT NULL,
  stable_tokens INTEGER NOT NULL,
  candidate_tokens INTEGER NOT NULL,
  stable_us INTEGER NOT NULL,
  candidate_us INTEGER NOT NULL,
  stable_ttft_us INTEGER,
  candidate_ttft_us INTEGER,
  scored_tokens INTEGER NOT NULL,
  logprob REAL
) STRICT;

CREATE UNIQUE INDEX shadow_comparisons_by_copy ON shadow_comparisons (copy_id);

CREATE INDEX shadow_comparisons_by_rollout ON shadow_comparisons (rollout_id, attempt, number);

CREATE INDEX shadow_comparisons_by_age ON shadow_comparisons (at_us);
"""


async def up(connection: AsyncConnection) -> None:
    """Create the table."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
