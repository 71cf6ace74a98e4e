"""Schema 16: aliases of model versions, and what each version was made from.

Versions from before have no lineage until it is recorded.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

_ALIASES: Final = (
    "CREATE TABLE model_aliases (model TEXT NOT NULL, alias TEXT NOT NULL, "
    "version_id INTEGER NOT NULL REFERENCES models (id), set_at_us INTEGER NOT NULL, "
    "set_by TEXT NOT NULL, intent_id INTEGER, PRIMARY KEY (model, alias)) STRICT"
)
_COLUMNS: Final = ("parent_id INTEGER REFERENCES models (id)", "dataset TEXT", "run TEXT")


async def up(connection: AsyncConnection) -> None:
    """Add the table and the columns."""
    await connection.exec_driver_sql(_ALIASES)
    for column in _COLUMNS:
        await connection.exec_driver_sql(f"ALTER TABLE models ADD COLUMN {column}")
