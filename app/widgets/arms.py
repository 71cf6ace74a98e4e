"""Arms of services as rows of a table: set beside actual, and what they answer like.

Wide terminals get more columns, never other figures. Imported by the pulse and the traffic place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app import words
from app.snapshot import Arm, Service, TrafficWindow
from app.widgets.palette import Piece
from app.widgets.table import Column, Row
from storage import splits

_SECOND_US: Final = 1_000_000
_MICRO: Final = 1_000_000
_ALONE: Final = 4
_NAMED: Final = 16
_SHARE: Final = 6
_ACTUAL: Final = 7
_LIKED: Final = 12


def columns(window: TrafficWindow, services: Sequence[Service]) -> list[Column]:
    """The columns; which of them are shown, the width decides. Without a price there is none."""
    named = max((words.width(arm.key) for each in services for arm in each.arms), default=0)
    money = Column(title=f"{window.currency}/1k tok", width=10, right=True, rank=3)
    return [
        Column(title="ARM", width=_ALONE if len(services) == 1 else min(named, _NAMED)),
        Column(title="MODEL", width=12, rank=5, most=28),
        Column(title="PROMPT", width=10, rank=6, most=20),
        Column(title="SET", width=_SHARE, right=True),
        Column(title="ACTUAL", width=_ACTUAL, right=True),
        Column(title="REQ/S", width=5, right=True),
        Column(title="LAT P50", width=7, right=True, rank=7),
        Column(title="LAT P95", width=7, right=True),
        Column(title="TTFT P95", width=8, right=True, rank=4),
        Column(title="TOK/S", width=5, right=True, rank=8),
        Column(title="ERR", width=_SHARE, right=True),
        Column(title="REFUSED", width=7, right=True, rank=1),
        Column(title="SYNTHETIC", width=9, right=True, rank=9),
        *([money] if window.priced else []),
        Column(title="LIKED", width=_LIKED, right=True, rank=2),
    ]


def rows(services: Sequence[Service], window: TrafficWindow) -> list[Row]:
    """One row for each arm of each service."""
    alone = len(services) == 1
    return [
        row(arm, alone=alone, priced=window.priced) for service in services for arm in service.arms
    ]


def ailing_first(services: Sequence[Service]) -> list[tuple[int, Arm]]:
    """The arms with their position, those that fail or refuse first."""
    every = enumerate(arm for service in services for arm in service.arms)
    return sorted(every, key=lambda each: (-each[1].failed - each[1].refused, -each[1].requests))


def row(arm: Arm, *, alone: bool, priced: bool) -> Row:
    """One arm; one that has left, or that is given nothing and gets nothing, is dimmed."""
    quiet = "dim" if arm.departed or not (arm.weight_bp or arm.requests) else ""
    cells: tuple[Piece, ...] = (
        (f"r{arm.release}" if alone else short(arm), quiet or "bold"),
        (arm.model or words.UNKNOWN, quiet),
        (arm.prompt or words.UNKNOWN, quiet),
        (words.UNKNOWN if arm.departed else tight(splits.percent(arm.weight_bp)), quiet),
        (tight(words.share(arm.actual, arm.between), _ACTUAL), quiet),
        (figure(arm.per_s), quiet),
        (words.brief(arm.p50_us), quiet),
        (words.brief(arm.p95_us), quiet),
        (words.brief(arm.ttft_p95_us), quiet),
        (figure(arm.tokens_per_s), quiet),
        (tight(words.percent(arm.errors)), "bad" if arm.failed else quiet),
        (words.count(arm.refused), "warn" if arm.refused else quiet),
        (words.percent(arm.synthetic), quiet),
        *([(price(arm.kilo_micro), quiet)] if priced else []),
        (liked(arm), quiet),
    )
    return Row(arm.key, cells)


def short(arm: Arm) -> str:
    """Service and release in the cells there are; it is the release that is never cut."""
    release = f"/r{arm.release}"
    return words.cut(arm.service, _NAMED - len(release)) + release


def tight(share: str, room: int = _SHARE) -> str:
    """A share; where it has more figures than there is room for, the space before % goes."""
    return share if len(share) <= room else share.replace(" %", "%")


def figure(per_second: float | None) -> str:
    """A rate; its unit is in the title."""
    return words.UNKNOWN if per_second is None else words.rate(per_second).removesuffix("/s")


def price(micro: int | None) -> str:
    """Money; its currency is in the title: 0.000021, 0.0213, 12.40."""
    if micro is None:
        return words.UNKNOWN
    places = 6 if micro < _MICRO // 1000 else 4 if micro < _MICRO else 2
    return f"{micro / _MICRO:.{places}f}"


def liked(arm: Arm) -> str:
    """The share of thumbs that point up, and of how many."""
    judged = arm.up + arm.down
    if arm.liked is None:
        return words.UNKNOWN
    return tight(f"{arm.liked * 100:.0f} % of {short_count(judged)}", _LIKED)


def short_count(number: int) -> str:
    """A count in four cells: 999, 1.2k, 123k, 1.2M."""
    if number < 1_000:  # noqa: PLR2004
        return str(number)
    value, unit = (number / 1e3, "k") if number < 999_500 else (number / 1e6, "M")  # noqa: PLR2004
    return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"  # noqa: PLR2004


def span(window: TrafficWindow) -> str:
    """The window: last 5 min, last 42 s, or 5 min until a moment in the past."""
    seconds = round(window.window_us / _SECOND_US)
    long = words.duration(seconds * _SECOND_US) if seconds >= 60 else f"{seconds} s"  # noqa: PLR2004
    if window.until_us is None:
        return f"last {long}"
    return f"{long} until {words.clock(window.until_us)[11:]}"


def about(window: TrafficWindow) -> str:
    """What the figures are of: the window, who asked, whether there is a price."""
    parts = [span(window)]
    if window.synthetic:
        parts.append(f"{words.percent(window.synthetic)} synthetic")
    if not window.priced:
        parts.append("no price set")
    return " · ".join(parts)
