"""Retention: rolls samples up by the minute, and deletes what is older than config.toml allows.

Not a controller of the reconcile loop: there is nothing to decide, a run takes many short
transactions instead of one, and a run that is repeated changes nothing. The schedule is therefore
kept in memory; the run after a start makes up for those that were missed.

A wrong clock must not delete a box's history. A time is trusted once the store holds 24 measured
hours before it; until then ages are counted from the last time that was trusted. This rests on the
store alone, so that neither a restart nor waiting less than a day makes a wrong clock right; a box
that was off for weeks deletes after a day of running. Imported by `engine.control`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from storage import (
    ab_test_units,
    alerts,
    box_usage,
    errors,
    jobs,
    notifications,
    online_scores,
    replay_items,
    replays,
    requests,
    rollups,
    samples,
    shadow_comparisons,
    texts,
    usage,
)
from storage.home.config import Retention
from storage.rollups import Span
from storage.store import Session, Store

FIRST_S: Final = 30
HOURLY: Final = 3600
MINUTELY: Final = 60
HOURS: Final = 24
_HOUR_S: Final = 3600
_SECOND_US: Final = 1_000_000
_DAY_US: Final = 24 * _HOUR_S * _SECOND_US

_log = structlog.get_logger("control.retention")


class Keeper:
    """Deletes what is too old by a clock that is trusted."""

    def __init__(self, store: Store, retention: Retention, *, now_us: Callable[[], int]) -> None:
        self._store = store
        self._retention = retention
        self._now_us = now_us

    async def roll(self) -> None:
        """Roll up what is over, and measure what the box used; a few at a time.

        So no other write waits for long.
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
        return await box_usage.measure(s, now_s) or rolled

    async def forget(self) -> int:
        """Run once; returns how many rows were deleted."""
        keep = self._retention
        gone = 0
        try:
            now = await self._trusted_us()
            gone += await self._all(
                lambda s: _seconds(s, (now - keep.samples_days * _DAY_US) // _SECOND_US)
            )
            for span, days in ((Span.MINUTE, keep.minutes_days), (Span.HOUR, keep.hours_days),
                               (Span.DAY, keep.hours_days)):  # fmt: skip
                before = (now - days * _DAY_US) // _SECOND_US
                gone += await self._all(functools.partial(_rollups, span=span, before_s=before))
            costs_s = (now - keep.costs_days * _DAY_US) // _SECOND_US
            gone += await self._all(lambda s: usage.prune(s, costs_s))
            gone += await self._all(lambda s: box_usage.prune(s, costs_s))
            gone += await self._all(lambda s: texts.prune(s, now - keep.texts_days * _DAY_US))
            gone += await self._all(
                lambda s: replay_items.prune(s, now - keep.texts_days * _DAY_US)
            )
            gone += await self._all(
                lambda s: online_scores.prune(s, now - keep.requests_days * _DAY_US)
            )
            gone += await self._all(lambda s: requests.prune(s, now - keep.requests_days * _DAY_US))
            gone += await self._all(
                lambda s: ab_test_units.prune(s, now - keep.requests_days * _DAY_US)
            )
            gone += await self._all(
                lambda s: shadow_comparisons.prune(s, now - keep.requests_days * _DAY_US)
            )
            gone += await self._all(lambda s: jobs.prune(s, now - keep.jobs_days * _DAY_US))
            gone += await self._all(lambda s: replays.prune(s, now - keep.jobs_days * _DAY_US))
            gone += await self._all(
                lambda s: alerts.prune(s, now - keep.requests_days * _DAY_US, now - _DAY_US)
            )
            gone += await self._all(
                lambda s: notifications.prune(s, now - keep.jobs_days * _DAY_US)
            )
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
        trusted = min(now, hour * _HOUR_S * _SECOND_US + _DAY_US)
        if now - trusted > _DAY_US:
            _log.warning("the clock is not trusted yet", behind_s=(now - trusted) // _SECOND_US)
        return trusted

    async def _all(self, prune: Callable[[Session], Awaitable[int]]) -> int:
        gone = 0
        while some := await self._store.write(prune, nudge=False):
            gone += some
        return gone


async def _seconds(s: Session, before_s: int) -> int:
    return await samples.prune(s, await rollups.seconds_gone(s, before_s))


async def _rollups(s: Session, *, span: Span, before_s: int) -> int:
    return await rollups.prune(s, span, before_s)


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
