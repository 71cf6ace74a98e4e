"""What was spent: bills of any range read from the store, of today, and what today will come to.

The calendar day is that of the time zone under `[price]` in config.toml. Figures are those of
`storage.costs`; a range is widened to whole quarter hours. Imported by every package.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from storage import box_usage, costs, prices, releases, usage
from storage.costs import Bill
from storage.home import config
from storage.prices import QUARTER_S
from storage.requests import Request

_SECOND_US: Final = 1_000_000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Today:
    """The calendar day so far: its bill, and what it comes to at the rate of the last hour.

    Seconds since 1970; the day ends at `end_s`. `projected_micro` is as `projection` has it.
    """

    begin_s: int
    end_s: int
    bill: Bill
    projected_micro: int | None

    @property
    def micro(self) -> int | None:
        """Micro-units spent so far, idle time included; None while nothing has a price."""
        return self.bill.micro if self.bill.priced else None


def day(second: int, zone: str) -> tuple[int, int]:
    """The beginning and the end of the calendar day that a second is in."""
    place = zoneinfo.ZoneInfo(zone)
    date = dt.datetime.fromtimestamp(second, place).date()
    return _midnight(date, place), _midnight(date + dt.timedelta(days=1), place)


def month(second: int, zone: str) -> tuple[int, int]:
    """The beginning and the end of the calendar month that a second is in."""
    place = zoneinfo.ZoneInfo(zone)
    first = dt.datetime.fromtimestamp(second, place).date().replace(day=1)
    return _midnight(first, place), _midnight((first + dt.timedelta(days=32)).replace(day=1), place)


def date(second: int, zone: str) -> str:
    """The calendar day that a second is in: 2026-11-27."""
    return dt.datetime.fromtimestamp(second, zoneinfo.ZoneInfo(zone)).date().isoformat()


async def bill(s: AsyncSession, begin_s: int, end_s: int, settings: config.Price) -> Bill:
    """The bill of the quarter hours that begin in a range, `end_s` excluded."""
    begin_s = begin_s // QUARTER_S * QUARTER_S
    return costs.bill(
        await usage.between(s, begin_s, end_s),
        await box_usage.between(s, begin_s, end_s),
        await prices.listed(s, settings),
        await releases.upstreams(s),
    )


async def today(s: AsyncSession, now_s: int, settings: config.Price) -> Today:
    """The calendar day so far."""
    begin_s, end_s = day(now_s, settings.time_zone)
    known = await bill(s, begin_s, now_s + 1, settings)
    begun = now_s // QUARTER_S * QUARTER_S - _HOUR_S
    last = await bill(s, begun, now_s + 1, settings)
    measured = await box_usage.between(s, begun, now_s + 1)
    elapsed_s = sum(box.device_us // box.devices for box in measured) // _SECOND_US
    left_s = end_s - now_s
    return Today(begin_s, end_s, known, projection(known, last, elapsed_s, left_s))


def projection(known: Bill, last: Bill, elapsed_s: int, left_s: int) -> int | None:
    """Micro-units of the whole day: what is known, and the rate of the last hour until its end.

    `last` is the bill of the last hour, in which the box was measured for `elapsed_s` seconds: a
    box that has just started is expected to continue as since. None while nothing has a price, or
    less than a minute was measured.
    """
    if elapsed_s < _MINUTE_S or not (known.priced or last.priced):
        return None
    return costs.micro(known.pico + last.pico * max(left_s, 0) // elapsed_s)


async def of_request(
    s: AsyncSession, request: Request, settings: config.Price
) -> tuple[int | None, str]:
    """What one request cost, in micro-units, and the currency; None where a price is missing.

    By its tokens on an upstream, else by its share of the computing time of the quarter hour.
    """
    used = usage.of(request)
    serves = await releases.upstreams(s)
    if used.release in serves:
        alone = costs.bill([used], [], await prices.listed(s, settings), serves)
        return _micro(alone.charges[0].pico), alone.currency
    whole = await bill(s, used.quarter_s, used.quarter_s + 1, settings)
    for charge in whole.charges:
        if usage.key(charge.usage) == usage.key(used):
            pico, busy_us = charge.pico, charge.usage.busy_us
            share = pico if pico is None or not busy_us else pico * used.busy_us // busy_us
            return _micro(share), whole.currency
    return None, whole.currency


def _micro(pico: int | None) -> int | None:
    return None if pico is None else costs.micro(pico)


def _midnight(of: dt.date, place: zoneinfo.ZoneInfo) -> int:
    return int(dt.datetime.combine(of, dt.time(), place).timestamp())
