"""Splits of a service's traffic: arms, weights, buckets, and the one wording of all of them.

Pure: a split is never changed, setting one adds one, and the rows are kept by
`storage.split_history`. Without the store's libraries, so that screens can word a split before
these are loaded. Imported by every package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from storage import errors
from storage.sticky_buckets import Range

WHOLE_BP: Final = 10_000
_ARMS: Final = 32


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """A release and its weight in basis points."""

    release: int
    weight_bp: int


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Which releases answer, and how often. `salt` and `ranges` decide which users get which.

    `ranges` are (first bucket, bucket after the last, release), sorted; together 0..9999.
    `restores` is the split that this one set again; None: it was set by its weights.
    """

    id: int
    service: str
    salt: str
    arms: tuple[Arm, ...]
    ranges: tuple[Range, ...] = ()
    restores: int | None = None
    set_at_us: int
    set_by: str
    intent_id: int | None


class Placed(Protocol):
    """A split in a history, as `roll_back_target` needs it."""

    @property
    def id(self) -> int:
        """Its number; later splits have higher ones."""

    @property
    def restores(self) -> int | None:
        """The split that it went back to, or forth again."""


def check_arms(arms: Sequence[Arm]) -> None:
    """Invalid unless the arms are different releases whose weights add up to 10000."""
    if not 0 < len(arms) <= _ARMS:
        raise errors.Invalid(f"A split has 1 to {_ARMS} arms, not {len(arms)}.")
    if len({arm.release for arm in arms}) < len(arms):
        raise errors.Invalid("A release is in the split twice; name each arm once.")
    if any(not 0 <= arm.weight_bp <= WHOLE_BP for arm in arms):
        raise errors.Invalid(f"The weight of an arm is 0 to {WHOLE_BP} basis points.")
    total = sum(arm.weight_bp for arm in arms)
    if total != WHOLE_BP:
        raise errors.Invalid(
            f"The weights of a split add up to {WHOLE_BP} basis points, not {total}."
        )


def origin(split: Placed) -> int:
    """The id of the split whose arms and users these are: its own, or that of the restored one."""
    return split.restores or split.id


def roll_back_target(history: Sequence[Placed]) -> int | None:
    """The split to go back to, by the newest two of a history, newest first; None: there is none.

    It is the split before the last change. After going back it is the one that was restored, where
    the service is already: going back twice changes once, and to go further a split is named.
    """
    if len(history) < 2:  # noqa: PLR2004 the current split and the one before
        return None
    current, before = history[0], origin(history[1])
    if current.restores is not None and current.restores < before:
        return current.restores
    return before


def pairs(arms: Iterable[Arm]) -> tuple[tuple[int, int], ...]:
    """Arms as (release, basis points), the form in which they are worded."""
    return tuple((arm.release, arm.weight_bp) for arm in arms)


def percent(basis_points: int) -> str:
    """A weight without digits that were not set: 90 %, 0.25 %."""
    whole, rest = divmod(basis_points, 100)
    return f"{whole}.{rest:02d}".rstrip("0") + " %" if rest else f"{whole} %"


def words(arms: Iterable[tuple[int, int]], separator: str = ", ") -> str:
    """A split in a sentence: r1 90 %, r2 10 %."""
    return separator.join(f"r{release} {percent(points)}" for release, points in arms)


def typed(arms: Iterable[tuple[int, int]]) -> str:
    """A split as it is typed: r1=90 r2=0.25."""
    return " ".join(f"r{release}={percent(points).removesuffix(' %')}" for release, points in arms)


def change(name: str, before: Mapping[int, int], after: Mapping[int, int]) -> str:
    """The effect of a new split: support  r1 90 % → 50 %  r2 10 % → 50 %."""
    changes = [
        f"r{release} {percent(before.get(release, 0))} → {percent(after.get(release, 0))}"
        for release in dict.fromkeys([*before, *after])
    ]
    return f"{name}  " + "  ".join(changes)


def ledger_form(arms: Iterable[tuple[int, int]]) -> dict[str, int]:
    """A split as the ledger keeps it: basis points by release."""
    return {f"r{release}": points for release, points in arms}
