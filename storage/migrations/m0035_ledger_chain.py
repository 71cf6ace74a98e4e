"""Schema 35: the entries of the ledger are chained by hashes, and cannot be changed or deleted."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import ledger_chain

_SEALED = "the ledger is only ever added to"


async def up(connection: AsyncConnection) -> None:
    """Chain what is there, then forbid changes."""
    await connection.exec_driver_sql("ALTER TABLE ledger ADD COLUMN hash TEXT NOT NULL DEFAULT ''")
    columns = ", ".join(ledger_chain.CONTENT)
    found = await connection.exec_driver_sql(f"SELECT id, {columns} FROM ledger ORDER BY id")  # noqa: S608
    last, hashes = ledger_chain.BEGINNING, []
    for row in found:
        last = ledger_chain.link(last, tuple(row[1:]))
        hashes.append((last, row[0]))
    for each in hashes:
        await connection.exec_driver_sql("UPDATE ledger SET hash = ? WHERE id = ?", each)
    for act in ("UPDATE", "DELETE"):
        await connection.exec_driver_sql(
            f"CREATE TRIGGER ledger_keeps_{act.lower()} BEFORE {act} ON ledger "
            f"BEGIN SELECT RAISE(ABORT, '{_SEALED}'); END"
        )
