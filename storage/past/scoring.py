"""The shares of answers that were checked at a past moment, by the ledger. Imported by `app`."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage.online_scores import Scoring
from storage.past import entries


async def every(s: AsyncSession, at_us: int) -> list[Scoring]:
    """The services whose answers were scored; how far that was is not recorded: `cursor` is 0."""
    last = await entries.last(s, "scoring", at_us)
    found = [Scoring(service=each.key, share_bp=each.after, cursor=0) for each in last]
    return sorted((each for each in found if each.share_bp), key=lambda each: each.service)
