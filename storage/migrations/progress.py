"""Says how far a migration is, while SQLite is busy with one long statement of it.

SQLite calls back after so many of its instructions; what a step takes in all follows from the rows
that it goes through. Only steps that move many rows are weighed. Of another one no percentage is
said, should it take longer than expected. Imported by `storage.migrations`.
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

_WEIGHTS: Final = {
    50: ("requests", "SELECT coalesce(max(rowid), 0) FROM requests", 112),
    54: ("sample_minutes", "SELECT count(*) FROM sample_minutes", 47),
    56: ("online_scores", "SELECT count(*) FROM online_scores", 62),
}
"""By the number of a step: a table, how many rows of it there are, and the instructions for each.

The instructions are as measured. Requests are counted at once however many there are.
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
        self._work = {each: _work(database, each) for each in steps if each in _WEIGHTS}
        self._done = 0
        self._said: Progress | None = None
        database.set_progress_handler(self._look, _LOOK)

    def begin(self, step: int) -> None:
        """A step begins."""
        self._step, self._done = step, 0

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
        progress = Progress(schema=self._step, newest=self._newest, percent=self._percent())
        if progress != self._said:
            if self._said is None or now_s - self._logged_s >= _LOG_S:
                self._logged_s = now_s
                _log.info(progress.words)
            self._said = progress
            migrating.write(self._home, progress)
        return 0  # continue

    def _percent(self) -> int | None:
        """The share of the work of all steps that is done; None in a step that is not weighed."""
        if not (work := self._work.get(self._step)):
            return None
        before = sum(each for step, each in self._work.items() if step < self._step)
        return min(100 * (before + min(self._done, work)) // sum(self._work.values()), 99)


def _work(database: sqlite3.Connection, step: int) -> int:
    """About how many instructions a step takes; 0 where its table is made on the way."""
    table, count, each = _WEIGHTS[step]
    known = "SELECT 1 FROM sqlite_schema WHERE name = ? AND type = 'table'"
    if database.execute(known, (table,)).fetchone() is None:
        return 0
    return int(database.execute(count).fetchone()[0]) * each
