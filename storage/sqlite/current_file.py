"""The file that a store works with, for as long as it is the one at the store's path.

Compared before each transaction. When another file of the same store takes its place (a restore),
that one is opened and used from then on; when there is none, reads and writes are refused. A file
that was read offline is opened again once its node has opened it. Never writes. Imported by
`storage.sqlite.store` and `storage.sqlite.writer`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from storage import errors, migrations
from storage.home import paths as homes
from storage.home.paths import Home
from storage.sqlite import connections, offline_read, open_file, presence
from storage.sqlite.offline_read import OfflineFile
from storage.sqlite.open_file import OpenFile

_log: Final = structlog.get_logger("store")


class CurrentFile:
    """`opened` is the file; `replaced` counts the files that took the place of one before."""

    def __init__(
        self, home: Home, opened: OpenFile, *, readonly: bool, offline: OfflineFile | None
    ) -> None:
        self.opened = opened
        self.offline = offline
        self.replaced = 0
        self._home = home
        self._readonly = readonly
        self._missing: str | None = None
        self._emptied = False
        self._wal: presence.Mark | None = None
        self._version = opened.version()

    async def changed(self) -> bool:
        """Whether something was written, or the file came or went, since the last call."""
        if self.offline is not None:
            return self.offline.opened()
        was_missing = self._missing is not None
        if await self.missing() is not None:
            return not was_missing
        if was_missing:
            self._version = None
        before, self._version = self._version, self.opened.version()
        return before is None or self._version is None or before != self._version

    async def missing(self) -> str | None:
        """Why the file is not there as it was; None while it is."""
        if self.offline is None:
            with contextlib.suppress(errors.StorageError):
                await self.require()
        return self._missing

    async def require(self) -> None:
        """Check that the open file is the one at its path; one that took its place is opened.

        Raises:
            Vanished: there is none, or one that is not the store of this home.
            StorageError: the one that is there cannot be opened.
        """
        if self.offline is not None:
            return
        found = presence.mark(self._home.database)
        if found == self.opened.mark and not self._emptied:
            self._missing = None
            if self._wal is None:
                self._wal = presence.mark(homes.beside(self._home.database)[0])
            return
        self._emptied = self._emptied or (found is not None and found.empty)
        try:
            await self._follow(found)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            failure = connections.translated(error, self._home.database)
            self._missing = str(failure)
            raise failure from error
        except errors.StorageError as error:
            self._missing = str(error)
            raise
        self._missing = None
        self._emptied = False

    async def refresh(self) -> None:
        """Open a file that was read offline again, once its node has opened it."""
        if self.offline is None or not self.offline.opened():
            return
        before = self.opened
        try:
            self.offline = offline_read.find(self._home)
            self.opened = open_file.open(self._home, readonly=True, offline=self.offline)
        except (sqlite3.Error, OSError) as error:
            raise connections.translated(error, self._home.database) from error
        self._version = None
        await before.close()

    async def close(self) -> None:
        """Close the file."""
        await self.opened.close()

    async def _follow(self, found: presence.Mark | None) -> None:
        """Open the file that took the place of the one that was open, if it is the right one.

        SQLite leaves the new file's log alone when the old file is closed: it looks whether the
        file was moved.
        """
        home = self._home
        if not presence.holds(found):
            raise presence.gone(home)
        presence.require_file(home)
        wal = presence.mark(homes.beside(home.database)[0])
        if wal is not None and self._wal is not None and wal.inode == self._wal.inode:
            raise presence.mispaired(home)
        if self._readonly:
            raise errors.Vanished(f"{home.database} was replaced; read it again.")
        migrations.expect(home)
        before, self.opened = self.opened, open_file.open(home)
        self._wal = self._version = None
        self.replaced += 1
        _log.warning("the store was replaced; using the file that is there now", id=self.opened.id)
        await before.close()
