"""Moments as people type them: 03:12, 2026-11-27 03:12, 15m (ago, or from now). All are UTC.

Only `at` reads the clock. Imported by `app`.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from app import errors
from storage.home import clock

_AGO: Final = re.compile(r"-?([0-9]{1,6})([smhd])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FORMS: Final = ("%H:%M", "%H:%M:%S")
_DATED: Final = ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ")


def parse(typed: str, now_us: int) -> int:
    """The moment in microseconds since 1970, never after `now_us`.

    A time without a date is the last one that there was: 23:50, typed at 00:10, was yesterday.

    Raises:
        BadWord: it is not a time, or one in the future.
    """
    word = typed.strip()
    if ago := _AGO.fullmatch(word):
        return _past(typed, now_us - int(ago[1]) * _UNITS_S[ago[2]] * 1_000_000, now_us)
    now = dt.datetime.fromtimestamp(now_us / 1_000_000, dt.UTC)
    for form in _FORMS:
        if (at := _read(word, form)) is not None:
            at = dt.datetime.combine(now.date(), at.time(), dt.UTC)
            at = at - dt.timedelta(days=1) if at > now else at
            return int(at.timestamp()) * 1_000_000
    for form in _DATED:
        if (at := _read(word, form)) is not None:
            return _past(typed, int(at.timestamp()) * 1_000_000, now_us)
    raise errors.BadWord(
        f"{typed!r} is not a time; write 03:12, '2026-11-27 03:12' (both UTC), or 15m for "
        "15 minutes ago."
    )


def coming(typed: str, now_us: int) -> int:
    """The moment in microseconds since 1970, never before `now_us`.

    A time without a date is the next one that there will be: 00:10, typed at 23:50, is tomorrow.

    Raises:
        BadWord: it is not a time, or one in the past.
    """
    word = typed.strip()
    if word == "now":
        return now_us
    if later := _AGO.fullmatch(word):
        return now_us + int(later[1]) * _UNITS_S[later[2]] * 1_000_000
    now = dt.datetime.fromtimestamp(now_us / 1_000_000, dt.UTC)
    for form in _FORMS:
        if (at := _read(word, form)) is not None:
            at = dt.datetime.combine(now.date(), at.time(), dt.UTC)
            at = at + dt.timedelta(days=1) if at < now else at
            return int(at.timestamp()) * 1_000_000
    for form in _DATED:
        if (at := _read(word, form)) is not None:
            if at < now:
                raise errors.BadWord(f"{typed!r} is in the past.")
            return int(at.timestamp()) * 1_000_000
    raise errors.BadWord(
        f"{typed!r} is not a time; write 22:00, '2026-11-27 22:00' (both UTC), 2h from now, or now."
    )


def at(typed: str | None) -> int | None:
    """The moment of an option `--at`; None where it was not given.

    Raises:
        BadWord: it is not a time, or one in the future.
    """
    return None if typed is None else parse(typed, clock.now_us())


def _read(word: str, form: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(word, form).replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _past(typed: str, at_us: int, now_us: int) -> int:
    if at_us > now_us:
        raise errors.BadWord(f"{typed!r} is in the future.")
    if at_us <= 0:
        raise errors.BadWord(f"{typed!r} is before 1970.")
    return at_us
