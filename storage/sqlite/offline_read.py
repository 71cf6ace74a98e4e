"""A store at rest: nobody has it open, and who looks may not write beside it.

The last to close a store removes its -wal and -shm, and SQLite opens such a file only where it may
make them anew. Who may not reads the file as one that does not change, without locks, and asks
afterwards whether that was true. Never used where the -wal exists: it holds what the file does not.
Imported by `storage.store`, `storage.sqlite.connections` and `storage.migrations`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from storage.home import paths as homes
from storage.home.paths import Home


@dataclass(frozen=True, slots=True)
class Rest:
    """A store that was at rest when it was found."""

    home: Home
    mark: tuple[int, int, int]

    def disturbed(self) -> bool:
        """Whether somebody opened the store since: what was read meanwhile may not fit together."""
        try:
            return _logged(self.home) or _mark(self.home) != self.mark
        except FileNotFoundError:
            return True


def find(home: Home) -> Rest | None:
    """The rest of a store; None where SQLite reads it as it always does.

    Raises:
        OSError: there is no store, or it cannot be looked at.
    """
    mark = _mark(home)  # before the log is looked for: who comes between is noticed later
    if os.access(home.root, os.W_OK) or _logged(home):
        return None
    return Rest(home, mark)


def _logged(home: Home) -> bool:
    log, _ = homes.beside(home.database)
    return log.exists()


def _mark(home: Home) -> tuple[int, int, int]:
    found = home.database.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
