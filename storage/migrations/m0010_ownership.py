"""Schema 10: who owns a service's split, what is frozen, and where each undo went back to.

Splits that `services.undo` set before name the split that they restored, as they do now; the
buckets of older splits follow from their weights and are not stored.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations

SCRIPT: Final = """
ALTER TABLE splits ADD COLUMN ranges TEXT;

ALTER TABLE splits ADD COLUMN restores INTEGER REFERENCES splits (id);

ALTER TABLE services ADD COLUMN first_split_id INTEGER NOT NULL DEFAULT 0;

UPDATE services SET first_split_id =
  (SELECT min(splits.id) FROM splits WHERE splits.service = services.name);

ALTER TABLE services ADD COLUMN owner_kind TEXT;

ALTER TABLE services ADD COLUMN owner_id TEXT;

ALTER TABLE services ADD COLUMN frozen_by TEXT;

ALTER TABLE services ADD COLUMN frozen_reason TEXT;

ALTER TABLE services ADD COLUMN frozen_at_us INTEGER;

ALTER TABLE knobs ADD COLUMN undoes INTEGER REFERENCES knobs (id);

ALTER TABLE run_steps ADD COLUMN expected_version INTEGER;
"""
_HISTORY: Final = """
SELECT splits.id, splits.service, intents.verb FROM splits
LEFT JOIN intents ON intents.id = splits.intent_id ORDER BY splits.service, splits.id
"""


async def up(connection: AsyncConnection) -> None:
    """Add the columns, and say of each past undo what it restored."""
    for statement in migrations.statements(SCRIPT):
        await connection.exec_driver_sql(statement)
    past: dict[str, list[int]] = {}  # by service: the split that each change left in place
    for row in (await connection.exec_driver_sql(_HISTORY)).fetchall():
        before = past.setdefault(row.service, [])
        restored = before[-2] if row.verb == "services.undo" and len(before) > 1 else None
        before.append(restored or row.id)
        if restored is not None:
            await connection.exec_driver_sql(
                "UPDATE splits SET restores = ? WHERE id = ?", (restored, row.id)
            )
