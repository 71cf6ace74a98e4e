"""How long measurements, requests and texts are kept; what is older is forgotten bit by bit.

Runs by the hour. The schedule is kept in memory on purpose: a run that was missed while control
was down is made good by the run after its start, and forgetting twice is as forgetting once.
Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, requests, samples, texts
from storage.config import Retention
from storage.store import Store

FIRST_S: Final = 30
HOURLY: Final = 3600
_JUMP_US: Final = 3600 * 1_000_000
_DAY_US: Final = 24 * 3600 * 1_000_000

_log = structlog.get_logger("control.retention")


class Keeper:
    """Forgets what is too old, and nothing at all in an hour in which the clock jumped."""

    def __init__(
        self,
        store: Store,
        retention: Retention,
        *,
        now_us: Callable[[], int],
        monotonic_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._retention = retention
        self._now_us = now_us
        self._monotonic_us = monotonic_us
        self._ahead_us = now_us() - monotonic_us()

    async def forget(self) -> int:
        """Forget once; how many rows went."""
        now = self._now_us()
        ahead = now - self._monotonic_us()
        jumped, self._ahead_us = abs(ahead - self._ahead_us) > _JUMP_US, ahead
        if jumped:
            _log.warning("the clock jumped; nothing is forgotten this time")
            return 0
        keep = self._retention
        gone = 0
        try:
            gone += await self._all(
                lambda s: samples.prune(s, (now - keep.samples_days * _DAY_US) // 1_000_000)
            )
            gone += await self._all(lambda s: texts.prune(s, now - keep.texts_days * _DAY_US))
            gone += await self._all(lambda s: requests.prune(s, now - keep.requests_days * _DAY_US))
        except errors.StorageError as error:
            _log.warning("nothing more is forgotten this time", error=str(error))
        if gone:
            _log.info("forgotten", rows=gone)
        return gone

    async def _all(self, prune: Callable[[AsyncSession], Awaitable[int]]) -> int:
        gone = 0
        while some := await self._store.write(prune, nudge=False):
            gone += some
        return gone


def schedule(keeper: Keeper) -> AsyncIOScheduler:
    """The hourly run. Runs that were missed are made good by one; two never run at once."""
    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(
        keeper.forget,
        "interval",
        seconds=HOURLY,
        next_run_time=datetime.now(UTC) + timedelta(seconds=FIRST_S),
        misfire_grace_time=None,
        coalesce=True,
        max_instances=1,
        id="retention",
    )
    return scheduler
