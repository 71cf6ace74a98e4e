"""A/B tests as far as they were at a past moment, by their events. Imported by `app`.

What had been counted by then is not recorded: only a test that had ended has the figures that it
ended with.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import ab_test_events, ab_test_units, ab_tests, errors
from storage.ab_test_events import AbTestEvent
from storage.ab_test_rows import AbTestRow
from storage.ab_test_units import Exposed
from storage.ab_tests import OPEN, AbTest


async def tail(
    s: AsyncSession, at_us: int, limit: int = 100, *, service: str | None = None
) -> list[AbTest]:
    """The newest tests up to a moment, newest first, of all services or one."""
    query = select(col(AbTestRow.id)).where(col(AbTestRow.started_at_us) <= at_us)
    if service is not None:
        query = query.where(col(AbTestRow.service) == service)
    ids = await s.scalars(query.order_by(col(AbTestRow.id).desc()).limit(limit))
    return [await find(s, id, at_us) for id in ids.all() if id is not None]


async def find(s: AsyncSession, id: int, at_us: int) -> AbTest:
    """One test by its number.

    Raises:
        NotFound: there is no such test, or it had not been started.
    """
    known = await ab_tests.find(s, id)
    events = await events_of(s, id, at_us)
    if not events:
        raise errors.NotFound(f"A/B test {id} had not been started then.")
    last = events[-1]
    over = [each.at_us for each in events if each.after not in OPEN]
    return msgspec.structs.replace(
        known,
        state=last.after,
        why=last.why,
        sentence=last.sentence,
        version=len(events),
        winner=known.winner if over else None,
        moved_at_us=last.at_us,
        exposed_at_us=(
            known.exposed_at_us
            if known.exposed_at_us is not None and known.exposed_at_us <= at_us
            else None
        ),
        ended_at_us=over[0] if over else None,
    )


async def events_of(s: AsyncSession, id: int, at_us: int) -> list[AbTestEvent]:
    """The moves of a test up to a moment, oldest first."""
    return [each for each in await ab_test_events.of(s, id) if each.at_us <= at_us]


async def exposed(s: AsyncSession, id: int, at_us: int, limit: int = 1_000) -> list[Exposed]:
    """The units of a test that had been exposed; when one rated is not recorded and left out."""
    return [
        msgspec.structs.replace(each, score=None, correct=None)
        for each in await ab_test_units.log(s, id, limit, until_us=at_us)
    ]
