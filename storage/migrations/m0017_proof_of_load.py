"""Schema 17: what an instance proved to have loaded, and what a model's file is recognised by.

Versions from before have neither inode nor template hash until their file is verified or added
again.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS: Final = (
    ("models", "inode INTEGER"),
    ("models", "template_sha256 TEXT"),
    ("processes", "loaded TEXT"),
)


async def up(connection: AsyncConnection) -> None:
    """Add the columns."""
    for table, column in _COLUMNS:
        await connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")
