"""The home of the store that a connection has open.

For the few records that belong together with a file beside the store. Imported by `storage`.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.home.paths import Home


async def home(connection: AsyncConnection) -> Home:
    """The home."""
    found = await connection.exec_driver_sql(
        "SELECT file FROM pragma_database_list WHERE name = 'main'"
    )
    return Home(Path(str(found.scalar_one())).parent)
