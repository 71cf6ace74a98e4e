"""A/B tests as they were at a past moment, by their events. Imported by `app`.

What had been counted by then is not recorded: only a test that had ended has the figures that it
ended with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import ab_test_events, ab_test_rows, ab_test_units
from storage.ab_test_events import AbTestEvent
from storage.ab_test_units import Exposed
from storage.ab_tests import OPEN, AbTest
from storage.past import guided_changes


def _then(known: AbTest, events: Sequence[AbTestEvent]) -> AbTest:
    last = events[-1]
    over = [each.at_us for each in events if each.after not in OPEN]
    exposed_us = known.exposed_at_us
    return msgspec.structs.replace(
        known,
        state=last.after,
        why=last.why,
        sentence=last.sentence,
        version=len(events),
        winner=known.winner if over else None,
        moved_at_us=last.at_us,
        exposed_at_us=None if exposed_us is None or exposed_us > last.at_us else exposed_us,
        ended_at_us=over[0] if over else None,
    )


_PAST: Final = guided_changes.Past(ab_test_rows.KEPT, ab_test_events.of, _then)
tail = _PAST.tail
find = _PAST.find
events_of = _PAST.events_of


async def exposed(s: AsyncSession, id: int, at_us: int, limit: int = 1_000) -> list[Exposed]:
    """The units of a test that had been exposed; when one rated is not recorded and left out."""
    return [
        msgspec.structs.replace(each, score=None, correct=None)
        for each in await ab_test_units.log(s, id, limit, until_us=at_us)
    ]
