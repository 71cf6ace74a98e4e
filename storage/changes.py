"""What changed on the box between two moments: entries of the ledger that can alter an answer.

Incidents ask it "what changed in the hour before". Reads only; read by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import ledger
from storage.ledger import Entry

LOOK_BACK_US: Final = 3_600 * 1_000_000
"""How far before an incident changes are looked for."""
MOST: Final = 500

_RECORDS: Final = frozenset({"incident", "intent", "job", "replay", "run"})
"""Nouns whose entries record work or talk and alter no answer."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ledger with its reason, or that of the intent that asked for it."""

    entry: Entry
    reason: str

    @property
    def sentence(self) -> str:
        """In words: services.split service support: a canary of r2."""
        said = f"{self.entry.verb} {self.entry.noun} {self.entry.key}"
        return f"{said}: {self.reason}" if self.reason else said


async def between(
    s: AsyncSession, begin_us: int, end_us: int, *, service: str | None = None, limit: int = MOST
) -> Sequence[Change]:
    """The changes from one moment to another, oldest first; of several, the newest `limit`.

    With `service` those of other services are left out; what all services share stays.
    """
    entries = [
        entry
        for entry in await ledger.between(s, begin_us, end_us, limit=limit)
        if entry.noun not in _RECORDS
        and (service is None or entry.noun != "service" or entry.key == service)
    ]
    reasons = await ledger.reasons(s, entries)
    return [
        Change(entry=entry, reason=entry.reason or reasons.get(entry.intent_id or 0, ""))
        for entry in entries
    ]
