"""Reading a store that no process has open, where its owner may not write beside it.

The last process to close a store removes its -wal and -shm, and SQLite opens such a file only
where it may create them again: not on a file system that is mounted read-only. There the file is
read as immutable, without locks, and it is checked afterwards that it was. Never used while the
-wal exists, which holds what the file does not. Imported by `storage.sqlite` and
`storage.migrations`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from storage.home import access
from storage.home import paths as homes
from storage.home.paths import Home


@dataclass(frozen=True, slots=True)
class OfflineFile:
    """A store that no process had open when it was found."""

    home: Home
    mark: tuple[int, int, int]

    def opened(self) -> bool:
        """Whether the store was opened since: what was read meanwhile may be inconsistent."""
        try:
            return _logged(self.home) or _mark(self.home) != self.mark
        except FileNotFoundError:
            return True


def find(home: Home) -> OfflineFile | None:
    """The file, to be read offline; None where SQLite can open it as usual, or the node reads it.

    Raises:
        OSError: there is no store, or it cannot be read.
    """
    mark = _mark(home)  # before the check for a log: an opening in between shows later
    if not access.owns(home) or os.access(home.root, os.W_OK) or _logged(home):
        return None
    return OfflineFile(home, mark)


def _logged(home: Home) -> bool:
    log, _ = homes.beside(home.database)
    return log.exists()


def _mark(home: Home) -> tuple[int, int, int]:
    found = home.database.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
