"""Money as people type and read it: 2.50 is 2,500,000 micro-units. Imported by `app.commands`."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from decimal import Decimal, InvalidOperation, Overflow

from app import errors
from storage.prices import MOST_MICRO

_MICRO = 1_000_000


def micro(typed: str) -> int:
    """Micro-units of an amount as it is typed: 2.50, 0.000021.

    Raises:
        BadWord: it is not an amount, is negative, or has more than six decimals.
    """
    try:
        amount = Decimal(typed) * _MICRO
    except Overflow:
        amount = Decimal("inf")
    except InvalidOperation:
        raise errors.BadWord(f"{typed!r} is not an amount; write it as 2.50.") from None
    if not amount.is_finite() or amount < 0 or amount > MOST_MICRO or amount % 1:
        raise errors.BadWord(
            f"{typed!r} is out of range: from 0 to {MOST_MICRO // _MICRO:,}, at most six decimals."
        )
    return int(amount)


def moment(typed: str, zone: str) -> int:
    """Seconds since 1970 of a time as it is typed: 2026-11-27, 2026-11-27T14:30 or with +01:00.

    Without an offset it is in the time zone of the costs.

    Raises:
        BadWord: it is not a time.
    """
    try:
        read = dt.datetime.fromisoformat(typed)
    except ValueError:
        raise errors.BadWord(
            f"{typed!r} is not a time; write 2026-11-27, 2026-11-27T14:30 or 2026-11-27T14:30Z."
        ) from None
    if read.tzinfo is None:
        read = read.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return int(read.timestamp())


def shown(micro_units: int | None, *, unknown: str) -> str:
    """An amount without its currency: 12.40, 0.0213, 0.000021."""
    if micro_units is None:
        return unknown
    size = abs(micro_units)
    places = 2 if size >= _MICRO or not size else 4 if size >= _MICRO // 1000 else 6
    return f"{micro_units / _MICRO:.{places}f}"
