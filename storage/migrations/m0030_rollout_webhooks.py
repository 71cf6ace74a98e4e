"""Schema 30: the webhooks that a rollout asks and notifies."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE rollouts ADD COLUMN webhook_job_id INTEGER;

ALTER TABLE rollouts ADD COLUMN webhook_secret TEXT;

ALTER TABLE rollouts ADD COLUMN notify TEXT NOT NULL DEFAULT '[]';
"""


async def up(connection: AsyncConnection) -> None:
    """Add the columns."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
