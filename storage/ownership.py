"""Who may change a service's split: its owner, unless it is frozen. Pure records.

Imported by `storage.service_rows` and, through `storage.services`, by every room.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec


class OwnerKind(StrEnum):
    """What can own a split besides people, who set it by hand."""

    ROLLOUT = "rollout"
    AB_TEST = "ab_test"


class Owner(msgspec.Struct, frozen=True):
    """Who alone changes a split: a rollout or an A/B test, by its id."""

    kind: OwnerKind
    id: str

    @property
    def name(self) -> str:
        """In a sentence: rollout 3, A/B test 7."""
        return {"rollout": "rollout", "ab_test": "A/B test"}[self.kind.value] + f" {self.id}"


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """Who froze a service, why and when."""

    by: str
    reason: str
    at_us: int

    @property
    def words(self) -> str:
        """In a sentence: frozen by kim since 2026-01-31 12:00 UTC: an incident."""
        at = datetime.fromtimestamp(self.at_us // 1_000_000, UTC)
        return f"frozen by {self.by} since {at:%Y-%m-%d %H:%M} UTC: {self.reason}"
