"""What a process has open of one file of a store: its readers, its writer, and a watcher.

Never looks whether the file is still at its path; `storage.sqlite.current_file` does. Imported by
`storage.sqlite`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from storage.home import identity
from storage.home.paths import Home
from storage.sqlite import connections, presence
from storage.sqlite.offline_read import OfflineFile


@dataclass(frozen=True, slots=True)
class OpenFile:
    """The connections of one file; those of the readers and of the watcher cannot write."""

    id: str
    mark: presence.Mark | None
    reader: AsyncEngine
    writer: AsyncEngine | None
    watcher: sqlite3.Connection

    def version(self) -> int | None:
        """A number that differs after another connection wrote; None when it cannot be read now."""
        try:
            return int(self.watcher.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return None

    def rows(self, sql: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """The rows of one statement, all of them: a cursor left open would hold up checkpoints."""
        return self.watcher.execute(sql, values).fetchall()

    async def close(self) -> None:
        """Close the connections; the last process to do so folds the log into the file."""
        self.watcher.close()
        await self.reader.dispose()
        if self.writer is not None:
            await self.writer.dispose()


def open(home: Home, *, readonly: bool = False, offline: OfflineFile | None = None) -> OpenFile:
    """Open the file at the path of a home's store.

    Raises:
        Vanished: it is another store than the one of this home.
        sqlite3.Error, OSError: it cannot be opened.
    """
    found = presence.mark(home.database)
    id = presence.read_id(home, offline)
    presence.check_id(home, identity.read(home), id)
    return OpenFile(
        id,
        found,
        reader=connections.reader(home, readonly=readonly, offline=offline),
        writer=None if readonly else connections.writer(home),
        watcher=connections.watcher(home, offline),
    )
