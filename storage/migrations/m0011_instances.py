"""Schema 11: a process of a worker is an instance of its deployment; knobs are the deployment's.

What was one worker was the only instance. A model version has a status, as a deployment has.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE processes ADD COLUMN deployment TEXT;

UPDATE processes SET deployment = name, name = name || ':1' WHERE kind = 'worker';

DROP INDEX knobs_by_worker;

ALTER TABLE knobs RENAME COLUMN worker TO deployment;

CREATE INDEX knobs_by_deployment ON knobs (deployment, name, id);

ALTER TABLE models RENAME COLUMN standing TO status;

ALTER TABLE models RENAME COLUMN standing_reason TO status_reason;
"""


async def up(connection: AsyncConnection) -> None:
    """Add the column and rename the others."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
