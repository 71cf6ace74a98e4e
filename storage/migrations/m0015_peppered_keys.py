"""Schema 15: a key is stored as an HMAC under the box's pepper, which is not in the store.

Existing hashes are wrapped, so that existing keys continue to work; so are those in intents. The
file of the pepper is made first: a crash in between leaves one that the next attempt uses.
"""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.home import pepper
from storage.home.pepper import Pepper
from storage.sqlite import location

_ADDED: Final = "SELECT id, arguments FROM intents WHERE verb = 'keys.add'"


async def up(connection: AsyncConnection) -> None:
    """Wrap what is there, and keep the pepper's fingerprint."""
    found = pepper.obtain(await location.home(connection))
    await connection.exec_driver_sql(
        "CREATE TABLE pepper (id INTEGER PRIMARY KEY CHECK (id = 1), fingerprint TEXT NOT NULL) "
        "STRICT"
    )
    await connection.exec_driver_sql(
        "INSERT INTO pepper (id, fingerprint) VALUES (1, ?)", (found.fingerprint,)
    )
    await connection.exec_driver_sql("ALTER TABLE keys RENAME COLUMN sha256 TO mac")
    for row in (await connection.exec_driver_sql("SELECT id, mac FROM keys")).mappings().all():
        await connection.exec_driver_sql(
            "UPDATE keys SET mac = ? WHERE id = ?", (found.seal(row["mac"]), row["id"])
        )
    for row in (await connection.exec_driver_sql(_ADDED)).mappings().all():
        await connection.exec_driver_sql(
            "UPDATE intents SET arguments = ? WHERE id = ?",
            (_sealed(row["arguments"], found), row["id"]),
        )


def _sealed(arguments: str, found: Pepper) -> str:
    given = json.loads(arguments)
    if isinstance(sha256 := given.pop("sha256", None), str):
        given["mac"] = found.seal(sha256)
    return json.dumps(given)
