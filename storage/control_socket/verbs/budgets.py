"""Verbs of budgets: set and removed. The target is key/NAME, service/NAME or tenant/NAME."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.budgets import WARN_PERCENT, Period
from storage.control_socket.verbs.verb import Arguments, Danger, Process, Verb, Why
from storage.keys import Role
from storage.prices import MOST_MICRO


class Set(Arguments, frozen=True, kw_only=True):
    """The limit of the target in micro-units; without `refuse` it only warns."""

    limit_micro: Annotated[int, Meta(ge=0, le=MOST_MICRO)]
    period: Period = Period.DAY
    warn_percent: Annotated[int, Meta(ge=1, le=100)] = WARN_PERCENT
    refuse: bool = True


class Remove(Arguments, frozen=True, kw_only=True):
    """Which of the target's budgets."""

    period: Period = Period.DAY


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "budgets.set", Set, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Limit what a key, a service or a tenant may cost",
        "budgets set key NAME 10 [--per month] [--warn-only]",
        Why.ASKED,
    ),
    Verb(
        "budgets.remove", Remove, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Remove a budget",
        "budgets remove key NAME",
        Why.ASKED,
    ),
)  # fmt: skip
