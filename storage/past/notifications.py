"""The outbox as it was at a past moment: what was sent or given up later still waited then.

Notifications are deleted some time after their end. Imported by `app`.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import notification_rows
from storage.notifications import Notification, NotificationRow, State


async def tail(s: AsyncSession, at_us: int, limit: int = 20) -> list[Notification]:
    """The newest notifications up to a moment, newest first.

    How often one that still waited had been tried, and when it would be next, is not recorded:
    `attempts` is 0, `error` None, and `next_at_us` is when it was queued.
    """
    query = select(NotificationRow).where(col(NotificationRow.created_at_us) <= at_us)
    rows = await s.scalars(query.order_by(col(NotificationRow.id).desc()).limit(limit))
    return [_then(notification_rows.record(row), at_us) for row in rows]


def _then(known: Notification, at_us: int) -> Notification:
    if known.ended_at_us is not None and known.ended_at_us <= at_us:
        return known
    return msgspec.structs.replace(
        known,
        state=State.QUEUED,
        attempts=0,
        error=None,
        next_at_us=known.created_at_us,
        ended_at_us=None,
    )
