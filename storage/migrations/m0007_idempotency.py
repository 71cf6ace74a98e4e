"""Schema 7: an intent has an idempotency key, chosen by its client and unique for each actor.

It replaces the rule of schema 4, by which the reason of a run's intent was its key: steps of runs
that were asked for then get the keys under which the runner asks for them now.
"""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

_STEP: Final = re.compile(r"runbook .*, (run \d+, step .*)", re.DOTALL)
SCRIPT: Final = """
ALTER TABLE intents RENAME COLUMN seen TO expected_version;

ALTER TABLE intents RENAME COLUMN behalf TO on_behalf_of;

ALTER TABLE intents ADD COLUMN idempotency_key TEXT;

DROP INDEX intents_of_runs;
"""
UNIQUE: Final = """
CREATE UNIQUE INDEX intents_by_key ON intents (idempotency_key, actor, coalesce(on_behalf_of, 0))
  WHERE idempotency_key IS NOT NULL
"""


async def up(connection: AsyncConnection) -> None:
    """Rename the columns, add the key, give the steps of runs theirs."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
    asked = await connection.exec_driver_sql(
        "SELECT id, reason FROM intents WHERE on_behalf_of IS NOT NULL"
    )
    for row in asked.fetchall():
        if found := _STEP.fullmatch(row.reason):
            await connection.exec_driver_sql(
                "UPDATE intents SET idempotency_key = ? WHERE id = ?", (found[1], row.id)
            )
    await connection.exec_driver_sql(UNIQUE)
