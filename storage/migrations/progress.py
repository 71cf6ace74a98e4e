"""Says how far a migration is, while SQLite is busy with one long statement of it.

SQLite calls back after so many of its instructions; what a step takes in all follows from the rows
that it goes through. Steps that move no rows take no time to speak of. Imported by
`storage.migrations`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from storage.home import migrating
from storage.home.migrating import Progress
from storage.home.paths import Home

_OF_A_REQUEST: Final = {50: 112, 56: 25}
"""Instructions that a step takes for each request, as measured; by its number.

That of step 56 is for a tenth of the answers scored.
"""
_LOOK: Final = 250_000
"""Instructions between two looks: a hundredth of a second, or a tenth from a slow disk."""
_FIRST_S: Final = 1.0
_LOG_S: Final = 5.0

_log: Final = structlog.get_logger("store")


class Watch:
    """Counts the instructions of a connection that migrates."""

    def __init__(
        self,
        home: Home,
        database: sqlite3.Connection,
        steps: Sequence[int],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`steps` are the numbers of those that will be taken."""
        self._home = home
        self._monotonic_s = monotonic_s
        self._begun_s = self._logged_s = monotonic_s()
        self._newest = self._step = steps[-1]
        self._done = 0
        self._whole = max(
            sum(_OF_A_REQUEST.get(each, 0) for each in steps) * _requests(database), 1
        )
        self._said: Progress | None = None
        database.set_progress_handler(self._look, _LOOK)

    def begin(self, step: int) -> None:
        """A step begins."""
        self._step = step

    def end(self) -> None:
        """All steps were taken, or one failed."""
        migrating.clear(self._home)
        if self._said is not None:
            took_s = round(self._monotonic_s() - self._begun_s)
            _log.info("the migration has ended", schema=self._step, seconds=took_s)

    def _look(self) -> int:
        self._done += _LOOK
        now_s = self._monotonic_s()
        if now_s - self._begun_s < _FIRST_S:
            return 0
        percent = min(100 * self._done // self._whole, 99)
        progress = Progress(schema=self._step, newest=self._newest, percent=percent)
        if progress != self._said:
            if self._said is None or now_s - self._logged_s >= _LOG_S:
                self._logged_s = now_s
                _log.info(progress.words)
            self._said = progress
            migrating.write(self._home, progress)
        return 0  # continue


def _requests(database: sqlite3.Connection) -> int:
    """About how many requests there are, at once however many."""
    known = "SELECT 1 FROM sqlite_schema WHERE name = 'requests' AND type = 'table'"
    if database.execute(known).fetchone() is None:
        return 0
    return int(database.execute("SELECT coalesce(max(rowid), 0) FROM requests").fetchone()[0])
