"""Releases that there were at a past moment, and which of them were retired. Imported by `app`.

A release never changes, so only its creation and its retirement have times.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, ledger, releases
from storage.past import entries
from storage.releases import Release
from storage.retired_releases import Retired


async def every(s: AsyncSession, at_us: int) -> list[Release]:
    """The releases that had been created, by number."""
    return [each for each in await releases.every(s) if each.created_at_us <= at_us]


async def find(s: AsyncSession, name: str, at_us: int) -> Release:
    """By `r14`, or by at least six digits of its hash.

    Raises:
        NotFound: there is no such release, or there was none yet.
    """
    known = await releases.find(s, name)
    if known.created_at_us > at_us:
        raise errors.NotFound(f"{known.name} had not been created then.")
    return known


async def retired(s: AsyncSession, at_us: int) -> dict[int, Retired]:
    """The releases that were retired, by number."""
    verbs = ["releases.retire", "releases.unretire"]
    last = await entries.last(s, "release", at_us, verbs=verbs)
    why = await ledger.reasons(s, last)
    found = {}
    for entry in last:
        if entry.after["retired"]:
            number = int(entry.key.removeprefix("r"))
            found[number] = Retired(
                release=number,
                at_us=entry.at_us,
                actor=entry.actor,
                reason=why.get(entry.intent_id or 0, ""),
            )
    return found
