"""The outbox: one row for each notification and receiver, sent until the receiver accepts it.

A row is queued in the transaction that notes its group as notified. Delivery is at least once:
a row is SENT only after the receiver accepted the message, and a crash between the two sends it
again under the same `message_id`, by which a receiver can tell. Of one group the oldest is sent
first. Written by control, read by every package.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import column, delete, func, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, moves
from storage.notification_rows import (
    LONGEST_US,
    Backlog,
    Notification,
    NotificationRow,
    State,
    backlog,
    due,
    find,
    next_us,
    tail,
    waiting_groups,
)

__all__ = [
    "MOVES", "Backlog", "Notification", "NotificationRow", "State", "backlog", "claim", "due",
    "failed", "find", "give_up", "next_us", "pause_us", "prune", "queue", "reclaim", "sent", "tail",
    "tried_us", "waiting_groups",
]  # fmt: skip

KEPT_US: Final = 3 * 24 * 3600 * 1_000_000
"""How long a message is tried before it is given up, by its pauses: a clock may jump."""

MOST_WAITING: Final = 1_000
"""Messages that wait for one receiver; of more the oldest are given up."""

_FIRST_US: Final = 5_000_000
_LIMIT: Final = 300
_store: Final = table("store", column("id"))


MOVES: Final = moves.Table(
    noun="notification",
    column="state",
    begins=frozenset({State.QUEUED}),
    legal={
        State.QUEUED: frozenset({State.SENDING, State.FAILED}),
        State.SENDING: frozenset({State.SENT, State.QUEUED, State.FAILED}),
        State.SENT: frozenset(),
        State.FAILED: frozenset(),
    },
)


async def queue(
    s: AsyncSession,
    *,
    receiver: str,
    group_key: str,
    status: str,
    title: str,
    text: str,
    body: str,
    at_us: int,
) -> int:
    """Queue a message; its number. Its id is made of the store, the number and the time.

    Where too many wait for this receiver, the oldest is given up.
    """
    await _bound(s, receiver, at_us=at_us)
    row = NotificationRow(
        receiver=receiver,
        group_key=group_key,
        status=status,
        title=title,
        text=text,
        body=body,
        state=State.QUEUED.value,
        attempts=0,
        created_at_us=at_us,
        next_at_us=at_us,
    )
    s.add(row)
    await s.flush()
    store = (await s.execute(select(_store.c.id))).scalar() or ""
    row.message_id = f"paddock-{store[:8]}-{row.id}-{at_us}"
    await s.flush()
    return row.id or 0


async def _bound(s: AsyncSession, receiver: str, *, at_us: int) -> None:
    waits = (col(NotificationRow.receiver) == receiver, col(NotificationRow.ended_at_us).is_(None))
    count = (await s.execute(select(func.count()).where(*waits))).scalar_one()
    oldest = (
        select(col(NotificationRow.id))
        .where(*waits, col(NotificationRow.state) == State.QUEUED.value)
        .order_by(col(NotificationRow.id))
        .limit(max(count + 1 - MOST_WAITING, 0))
    )
    for id in list(await s.scalars(oldest)):
        error = f"more than {MOST_WAITING} notifications waited"
        await _move(s, id or 0, State.QUEUED, State.FAILED, ended_at_us=at_us, error=error)


async def claim(s: AsyncSession, id: int) -> None:
    """Note that a message is being sent.

    Raises:
        Moved: it is not queued any more.
    """
    await _move(s, id, State.QUEUED, State.SENDING)


async def sent(s: AsyncSession, id: int, *, at_us: int) -> None:
    """Note that the receiver accepted a message."""
    await _move(s, id, State.SENDING, State.SENT, ended_at_us=at_us, error=None)


async def failed(
    s: AsyncSession, notification: Notification, error: str, *, at_us: int, after_us: int | None
) -> State:
    """Note that a try failed; the message is tried again, or given up after three days of pauses.

    Those that waited behind it were not tried meanwhile, and are given as long as they are younger.
    """
    attempts = notification.attempts + 1
    over = tried_us(attempts) >= KEPT_US
    to = State.FAILED if over else State.QUEUED
    changes: dict[str, Any] = {"attempts": attempts, "error": error[:_LIMIT]}
    if over:
        changes["ended_at_us"] = at_us
        await _age(s, notification, attempts)
    else:
        changes["next_at_us"] = at_us + pause_us(attempts, after_us)
    await _move(s, notification.id, State.SENDING, to, **changes)
    return to


def pause_us(attempts: int, after_us: int | None = None) -> int:
    """How long to wait after failed attempts: 5 s doubled each time, at most 10 minutes.

    `after_us` is what the receiver asks for, as far as it is not longer than that.
    """
    doubled = int(min(_FIRST_US * 2 ** min(attempts - 1, 20), LONGEST_US))
    return doubled if after_us is None else min(max(doubled, after_us), LONGEST_US)


def tried_us(attempts: int) -> int:
    """How long a message has been tried at least, after a number of failed attempts."""
    return sum(pause_us(each) for each in range(1, attempts))


async def _age(s: AsyncSession, given_up: Notification, attempts: int) -> None:
    """Count the tries of a message for those that waited behind it, as far as they had come."""
    behind = await s.scalars(
        select(NotificationRow).where(
            col(NotificationRow.receiver) == given_up.receiver,
            col(NotificationRow.group_key) == given_up.group_key,
            col(NotificationRow.ended_at_us).is_(None),
            col(NotificationRow.id) > given_up.id,
        )
    )
    for row in behind:
        younger_us = max(row.created_at_us - given_up.created_at_us, 0)
        row.attempts = max(row.attempts, attempts - -(-younger_us // LONGEST_US))
    await s.flush()


async def reclaim(s: AsyncSession, *, at_us: int) -> int:
    """Put back what a control that died was sending; how many."""
    rows = list(
        await s.scalars(
            select(NotificationRow).where(col(NotificationRow.state) == State.SENDING.value)
        )
    )
    for row in rows:
        await _move(s, row.id or 0, State.SENDING, State.QUEUED, next_at_us=at_us)
    return len(rows)


async def give_up(s: AsyncSession, receiver: str, error: str, *, at_us: int) -> int:
    """End the messages of a receiver that was removed; how many."""
    rows = list(
        await s.scalars(
            select(NotificationRow).where(
                col(NotificationRow.receiver) == receiver,
                col(NotificationRow.ended_at_us).is_(None),
            )
        )
    )
    for row in rows:
        await _move(
            s, row.id or 0, State(row.state), State.FAILED, ended_at_us=at_us,
            error=error,
        )  # fmt: skip
    return len(rows)


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete notifications that ended before a time; how many."""
    ended = col(NotificationRow.ended_at_us)
    old = select(col(NotificationRow.id)).where(ended.is_not(None), ended < before_us).limit(limit)
    result = await s.execute(delete(NotificationRow).where(col(NotificationRow.id).in_(old)))
    return int(result.rowcount)  # type: ignore[attr-defined]


async def _move(s: AsyncSession, id: int, frm: State, to: State, **changes: Any) -> None:
    """Without an entry in the ledger: a target that is dead for a day would fill it."""
    if not MOVES.allows(frm, to):
        raise errors.Invalid(f"A notification that is {frm} cannot become {to}.")
    result = await s.execute(
        update(NotificationRow)
        .where(col(NotificationRow.id) == id, col(NotificationRow.state) == frm.value)
        .values(state=to.value, **changes)
    )
    if result.rowcount != 1:  # type: ignore[attr-defined]
        raise errors.Moved(f"Notification {id} is not {frm} any more.")
