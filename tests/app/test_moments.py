"""Moments as people type them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors, moments

NOW = dt.datetime(2026, 3, 1, 0, 10, 30, tzinfo=dt.UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("00:05", "2026-03-01 00:05:00"),
        ("23:50", "2026-02-28 23:50:00"),  # yesterday: it is not 23:50 yet
        ("00:10:30", "2026-03-01 00:10:30"),
        ("2026-02-27 03:12", "2026-02-27 03:12:00"),
        ("2026-02-27T03:12:05Z", "2026-02-27 03:12:05"),
        ("15m", "2026-02-28 23:55:30"),
        ("2h", "2026-02-28 22:10:30"),
        ("0s", "2026-03-01 00:10:30"),
    ],
)
def test_a_moment_is_read_as_people_mean_it(typed: str, expected: str) -> None:
    """A time without a date is the last one that there was."""
    at = dt.datetime.fromtimestamp(moments.parse(typed, NOW_US) / 1e6, dt.UTC)
    assert f"{at:%Y-%m-%d %H:%M:%S}" == expected


@pytest.mark.parametrize("typed", ["", "3", "25:00", "tomorrow", "2026-13-01 00:00", "1y", "٣m"])
def test_what_is_no_moment_is_refused_with_an_example(typed: str) -> None:
    """The message shows how to write one."""
    with pytest.raises(errors.BadWord, match="write 03:12"):
        moments.parse(typed, NOW_US)


def test_the_future_is_refused() -> None:
    """Nothing has happened there."""
    with pytest.raises(errors.BadWord, match="in the future"):
        moments.parse("2026-03-01 00:11", NOW_US)
    with pytest.raises(errors.BadWord, match="before 1970"):
        moments.parse("999999d", NOW_US)


@given(st.integers(0, 86_399))
def test_a_time_of_day_is_never_in_the_future(second: int) -> None:
    """Nor more than a day ago."""
    typed = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    assert 0 <= NOW_US - moments.parse(typed, NOW_US) < 86_400 * 1_000_000


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("now", "2026-11-27 03:12:00"),
        ("2h", "2026-11-27 05:12:00"),
        ("03:12", "2026-11-27 03:12:00"),
        ("22:00", "2026-11-27 22:00:00"),
        ("03:11", "2026-11-28 03:11:00"),
        ("2026-12-01 09:30", "2026-12-01 09:30:00"),
    ],
)
def test_a_time_to_come_is_the_next_such_one(typed: str, expected: str) -> None:
    """What is planned is never in the past."""
    at = dt.datetime.fromisoformat(expected).replace(tzinfo=dt.UTC)
    now = dt.datetime(2026, 11, 27, 3, 12, tzinfo=dt.UTC)
    found = moments.coming(typed, int(now.timestamp()) * 1_000_000)
    assert found == int(at.timestamp()) * 1_000_000


@pytest.mark.parametrize(("typed", "said"), [("2026-11-27 03:11", "past"), ("noon", "not a time")])
def test_a_time_that_is_over_cannot_be_planned(typed: str, said: str) -> None:
    """With what is wrong."""
    now = dt.datetime(2026, 11, 27, 3, 12, tzinfo=dt.UTC)
    with pytest.raises(errors.BadWord, match=said):
        moments.coming(typed, int(now.timestamp()) * 1_000_000)
