"""Retention: rolls samples up and packs them, and deletes what is older than config.toml allows.

How long each table is kept is in `engine.control.retained`. This is not a controller of the
reconcile loop: there is nothing to decide, a run takes many short transactions instead of one, and
a run that is repeated changes nothing. The schedule is therefore kept in memory; the run after a
start makes up for those that were missed.

A wrong clock must not delete a box's history. A time is trusted once the store holds 24 measured
hours before it; until then ages are counted from the last time that was trusted. This rests on the
store alone, so that neither a restart nor waiting less than a day makes a wrong clock right; a box
that was off for weeks deletes after a day of running. Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from engine.control import retained
from storage import box_usage, errors, rollups, samples
from storage.home.config import Retention
from storage.store import Session, Store

FIRST_S: Final = 30
HOURLY: Final = 3600
MINUTELY: Final = 60
HOURS: Final = 24
PLAIN_S: Final = 1_200
"""The seconds that screens show now are not packed."""
_HOUR_S: Final = 3600
_SECOND_US: Final = 1_000_000

_log = structlog.get_logger("control.retention")


class Keeper:
    """Deletes old rows by a trusted clock."""

    def __init__(self, store: Store, retention: Retention, *, now_us: Callable[[], int]) -> None:
        self._store = store
        self._retention = retention
        self._now_us = now_us

    async def roll(self) -> None:
        """Roll up past samples, measure usage and pack samples.

        A few at a time, so that no other write waits long.
        """
        try:
            more = True
            while more:
                more = await self._store.write(self._roll, nudge=False)
        except errors.StorageError as error:
            _log.warning("samples were not rolled up", error=str(error))

    async def _roll(self, s: Session) -> bool:
        now_s = self._now_us() // _SECOND_US
        rolled = await rollups.roll(s, now_s)
        measured = await box_usage.measure(s, now_s)
        until_s = min((await rollups.mark(s)).until_s, now_s - PLAIN_S)
        return await samples.pack(s, until_s) or measured or rolled

    async def forget(self) -> int:
        """Run once; returns how many rows were deleted."""
        gone = 0
        try:
            now_us = await self._trusted_us()
            for prune in retained.prunes():
                gone += await self._all(prune, now_us)
        except errors.StorageError as error:
            _log.warning("this run of retention was cut short", error=str(error))
        if gone:
            _log.info("deleted", rows=gone)
        return gone

    async def _trusted_us(self) -> int:
        """Now, or a day after the hour that is the twenty-fourth measured one back from now."""
        now = self._now_us()
        until, hour = now // _SECOND_US, 0
        async with self._store.read() as s:
            for _ in range(HOURS):
                second = await samples.newest(s, until)
                if second is None:
                    return 0  # less than a day was ever measured: nothing is old
                hour = second // _HOUR_S
                until = hour * _HOUR_S - 1
        trusted = min(now, hour * _HOUR_S * _SECOND_US + retained.DAY_US)
        if now - trusted > retained.DAY_US:
            _log.warning("the clock is not trusted yet", behind_s=(now - trusted) // _SECOND_US)
        return trusted

    async def _all(self, prune: retained.Prune, now_us: int) -> int:
        gone = 0
        while some := await self._store.write(
            lambda s: prune(s, now_us, self._retention), nudge=False
        ):
            gone += some
        return gone


def schedule(keeper: Keeper) -> AsyncIOScheduler:
    """The hourly run, and roll-ups by the minute.

    One run makes up for all that were missed; two of a kind never run at once.
    """
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
    scheduler.add_job(
        keeper.roll,
        "interval",
        seconds=MINUTELY,
        next_run_time=datetime.now(UTC) + timedelta(seconds=FIRST_S // 3),
        misfire_grace_time=None,
        coalesce=True,
        max_instances=1,
        id="rollups",
    )
    return scheduler
