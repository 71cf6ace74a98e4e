"""Arms of services as rows of a table: set beside actual, and what they answer like.

Wide terminals get more columns, never other figures. Imported by the pulse and the traffic place.
"""

from __future__ import annotations

from collections.abc import Sequence

from app import words
from app.snapshot import Arm, Lately, Service
from app.widgets.ink import Piece
from app.widgets.table import Column, Row

_SECOND_US = 1_000_000


def columns(lately: Lately, services: Sequence[Service]) -> list[Column]:
    """The columns, from the width on at which each is shown."""
    named = max((words.width(each.name) for each in services), default=0)
    name = 4 if len(services) == 1 else min(named + 4, 18)
    money = f"{lately.currency}/1k tok"
    return [
        Column(title="ARM", width=name),
        Column(title="MODEL", width=12, least=108, most=28),
        Column(title="PROMPT", width=10, least=140),
        Column(title="SET", width=6, right=True),
        Column(title="ACTUAL", width=6, right=True),
        Column(title="REQ/S", width=6, right=True),
        Column(title="P50", width=8, right=True, least=124),
        Column(title="P95", width=7, right=True),
        Column(title="TTFT P95", width=8, right=True, least=96),
        Column(title="TOK/S", width=6, right=True, least=132),
        Column(title="ERR", width=6, right=True),
        Column(title="REFUSED", width=7, right=True, least=156),
        Column(title="SYNTHETIC", width=9, right=True, least=156),
        Column(title=money, width=11, right=True),
        Column(title="LIKED", width=12, right=True),
    ]


def rows(services: Sequence[Service]) -> list[Row]:
    """One row for each arm of each service."""
    alone = len(services) == 1
    return [row(arm, alone=alone) for service in services for arm in service.arms]


def row(arm: Arm, *, alone: bool) -> Row:
    """One arm; an arm that gets nothing and is given nothing is dimmed."""
    quiet = "dim" if not arm.weight_bp and not arm.requests else ""
    errors = words.percent(arm.errors)
    cells: tuple[Piece, ...] = (
        (f"r{arm.release}" if alone else arm.key, quiet or "bold"),
        (arm.model or words.UNKNOWN, quiet),
        (arm.prompt or words.UNKNOWN, quiet),
        (words.weight(arm.weight_bp), quiet),
        (words.percent(arm.actual), quiet),
        (figure(arm.per_s), quiet),
        (words.duration(arm.p50_us), quiet),
        (words.duration(arm.p95_us), quiet),
        (words.duration(arm.ttft_p95_us), quiet),
        (figure(arm.tokens_per_s), quiet),
        (errors, "bad" if arm.failed else quiet),
        (words.count(arm.refused), "warn" if arm.refused else quiet),
        (words.percent(arm.synthetic / arm.requests if arm.requests else None), quiet),
        (price(arm.kilo_micro), quiet),
        (liked(arm), quiet),
    )
    return Row(arm.key, cells)


def figure(per_second: float | None) -> str:
    """A rate whose unit stands in the title."""
    return words.UNKNOWN if per_second is None else words.rate(per_second).removesuffix("/s")


def price(micro: int | None) -> str:
    """Money whose currency stands in the title; three figures."""
    return words.UNKNOWN if micro is None else f"{micro / 1_000_000:.3g}"


def liked(arm: Arm) -> str:
    """The share of thumbs that point up, and of how many."""
    judged = arm.up + arm.down
    if arm.liked is None:
        return words.UNKNOWN
    return f"{arm.liked * 100:.0f} % of {words.count(judged)}"


def about(services: Sequence[Service], lately: Lately) -> str:
    """What the figures are of: the window, who asked, whether there is a price."""
    parts = [f"last {words.duration(round(lately.window_us / _SECOND_US) * _SECOND_US)}"]
    asked = sum(arm.requests for service in services for arm in service.arms)
    synthetic = sum(arm.synthetic for service in services for arm in service.arms)
    if synthetic:
        parts.append(f"{words.percent(synthetic / asked)} synthetic")
    if not lately.priced:
        parts.append("no price set")
    return " · ".join(parts)
