"""Schema 44: an entry of the ledger cannot be replaced either, which deletes without a trigger."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


async def up(connection: AsyncConnection) -> None:
    """Refuse a number that there is."""
    await connection.exec_driver_sql(
        "CREATE TRIGGER ledger_keeps_replace BEFORE INSERT ON ledger "
        "WHEN EXISTS (SELECT 1 FROM ledger WHERE id = NEW.id) "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is only ever added to'); END"
    )
