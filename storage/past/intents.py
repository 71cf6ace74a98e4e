"""Intents as far as they were at a past moment. Imported by `app`."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import intents
from storage.intents import Intent, State
from storage.past import entries


async def tail(s: AsyncSession, at_us: int, limit: int = 100) -> list[Intent]:
    """The newest intents up to a moment, newest first; what ended later had not ended then."""
    found = await intents.tail(s, limit=limit, until_us=at_us)
    open_ = [each for each in found if each.ended_at_us is None or each.ended_at_us > at_us]
    moved = await entries.last(s, "intent", at_us, keys=[str(each.id) for each in open_])
    states = {int(entry.key): State(entry.after) for entry in moved}
    then = {
        each.id: msgspec.structs.replace(
            each,
            state=states.get(each.id, State.ACCEPTED),
            outcome=None,
            ended_at_us=None,
            claimed_by=each.claimed_by if states.get(each.id) is State.CLAIMED else None,
        )
        for each in open_
    }
    return [then.get(each.id, each) for each in found]
