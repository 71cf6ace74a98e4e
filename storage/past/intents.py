"""Intents as they were at a past moment. Imported by `app`."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, intents
from storage.intents import Intent, State
from storage.past import entries


async def tail(s: AsyncSession, at_us: int, limit: int = 100) -> list[Intent]:
    """The newest intents up to a moment, newest first; what ended later had not ended then."""
    return await _then(s, await intents.tail(s, limit=limit, until_us=at_us), at_us)


async def find(s: AsyncSession, id: int, at_us: int) -> Intent:
    """One intent.

    Raises:
        NotFound: there is no such intent, or it had not been asked for.
    """
    known = await intents.find(s, id)
    if known.at_us > at_us:
        raise errors.NotFound(f"Intent {id} had not been asked for then.")
    return (await _then(s, [known], at_us))[0]


async def _then(s: AsyncSession, found: list[Intent], at_us: int) -> list[Intent]:
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
