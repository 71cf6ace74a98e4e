"""The ledger: the list, newest first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One change. `before` and `after` are JSON, empty for what was not there."""

    id: int
    at_us: int
    actor: str
    verb: str
    noun: str
    key: str
    before: str
    after: str
    reason: str
    intent_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The newest entries that contain the filter; `more` where there are older ones."""

    rows: tuple[LedgerRow, ...]
    filter: str
    more: bool
