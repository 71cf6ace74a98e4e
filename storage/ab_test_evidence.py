"""What was counted of an A/B test up to its last look, as data.

Kept in the row of its test, with the numbers from which the next look continues. Never counts and
never judges. Imported by `storage.ab_tests`, through which every package knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec


class Count(msgspec.Struct, frozen=True, array_like=True):
    """How many cases, and in how many of them the event happened."""

    n: int = 0
    events: int = 0


class Values(msgspec.Struct, frozen=True, array_like=True):
    """How many values, their mean, and the sum of their squared distances from it."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0


class ArmEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One arm. `goals` are in the order of the test's: counts of rates, values of the others.

    `units` are those that were assigned to it, `requests` those that a release executed for them.
    """

    release: int
    units: int = 0
    requests: int = 0
    guards: tuple[Count, ...] = ()
    rates: tuple[Count, ...] = ()
    values: tuple[Values, ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All arms, in the test's order.

    `request` and `rating` are the newest that were looked at. `marks` has for each goal the counts
    of all arms at the end of each block: the sequential test of two rates wants them so.
    `ratio_units` is how many units there were when their ratio was last checked. `scored` is the
    newest request whose answer was looked at by online scoring.
    """

    request: int = 0
    rating: int = 0
    arms: tuple[ArmEvidence, ...] = ()
    marks: tuple[tuple[tuple[Count, ...], ...], ...] = ()
    ratio_units: int = 0
    scored: int = 0

    @property
    def units(self) -> int:
        """Those of all arms together."""
        return sum(arm.units for arm in self.arms)

    def of(self, release: int) -> ArmEvidence:
        """That of one arm."""
        return next(arm for arm in self.arms if arm.release == release)


NONE: Final = Evidence()


def begin(
    releases: Sequence[int], goals: int, guards: int, *, request: int, rating: int
) -> Evidence:
    """Nothing counted yet; what was recorded before the newest request and rating is not."""
    arm = ArmEvidence(
        release=0,
        guards=(Count(),) * guards,
        rates=(Count(),) * goals,
        values=(Values(),) * goals,
    )
    return Evidence(
        request=request,
        rating=rating,
        arms=tuple(msgspec.structs.replace(arm, release=release) for release in releases),
        marks=((),) * goals,
        scored=request,
    )


def encode(evidence: Evidence) -> str:
    """As the row keeps it."""
    return msgspec.json.encode(evidence).decode()


def decode(stored: str) -> Evidence:
    """The counts of a row."""
    return msgspec.json.decode(stored, type=Evidence)
