"""The rows of the outbox, as records, and how they are found.

Imported by `storage.notifications`, which changes them, and through it by every package.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors

LONGEST_US: Final = 600_000_000
"""The longest pause between two tries."""


class State(StrEnum):
    """How far a notification is.

    QUEUED: it waits for its turn, or for another try. A crash leaves it here.
    SENDING: control is sending it. After a crash its next start puts it back: the receiver may
        or may not have it.
    SENT: the receiver accepted it. Final.
    FAILED: the receiver did not accept it in three days of tries, or was removed. Final.
    """

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class NotificationRow(SQLModel, table=True):
    """A notification as it is stored; its body is JSON."""

    __tablename__: ClassVar[str] = "notifications"

    id: int | None = Field(default=None, primary_key=True)
    message_id: str | None = None
    receiver: str
    group_key: str
    status: str
    title: str
    text: str
    body: str
    state: str
    attempts: int
    created_at_us: int
    next_at_us: int
    error: str | None = None
    ended_at_us: int | None = None


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One message for one receiver; `status` is firing, resolved or test.

    `attempts` counts the tries that failed, the last of its own with `error`. A message that waits
    behind another of its group takes over the tries of that one once it is given up, as far as they
    were made while both waited: it may be given up itself after one more.
    """

    id: int
    message_id: str
    receiver: str
    group_key: str
    status: str
    title: str
    text: str
    body: str
    state: State
    attempts: int
    created_at_us: int
    next_at_us: int
    error: str | None
    ended_at_us: int | None


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver has not accepted yet: how many, since when, and why not."""

    waiting: int
    oldest_us: int
    error: str | None


async def waiting_groups(s: AsyncSession) -> set[tuple[str, str]]:
    """The groups of which a message has not been delivered, with their receivers."""
    query = (
        select(col(NotificationRow.receiver), col(NotificationRow.group_key))
        .where(col(NotificationRow.ended_at_us).is_(None))
        .distinct()
    )
    return {(row.receiver, row.group_key) for row in await s.execute(query)}


async def due(s: AsyncSession, now_us: int, busy: Collection[str] = ()) -> list[Notification]:
    """For each receiver that is not busy, the next message that may be sent now.

    Only the oldest of a group may be sent, so that an end does not overtake its beginning. A clock
    that was set back does not delay a message by more than the longest pause between tries.
    """
    heads = (
        select(func.min(col(NotificationRow.id)))
        .where(col(NotificationRow.ended_at_us).is_(None))
        .group_by(col(NotificationRow.receiver), col(NotificationRow.group_key))
    )
    query = (
        select(NotificationRow)
        .where(
            col(NotificationRow.id).in_(heads),
            col(NotificationRow.state) == State.QUEUED.value,
            (col(NotificationRow.next_at_us) <= now_us)
            | (col(NotificationRow.next_at_us) > now_us + LONGEST_US),
        )
        .order_by(col(NotificationRow.next_at_us), col(NotificationRow.id))
    )
    found: dict[str, Notification] = {}
    for row in await s.scalars(query):
        if row.receiver not in busy:
            found.setdefault(row.receiver, record(row))
    return list(found.values())


async def next_us(s: AsyncSession) -> int | None:
    """When the next message may be sent; None while none waits."""
    query = select(func.min(col(NotificationRow.next_at_us))).where(
        col(NotificationRow.state) == State.QUEUED.value
    )
    return (await s.execute(query)).scalar()


async def backlog(s: AsyncSession) -> dict[str, Backlog]:
    """What receivers have not accepted yet, by receiver."""
    query = (
        select(
            col(NotificationRow.receiver),
            func.count(),
            func.min(col(NotificationRow.created_at_us)),
            func.max(col(NotificationRow.error)),
        )
        .where(col(NotificationRow.ended_at_us).is_(None))
        .group_by(col(NotificationRow.receiver))
    )
    return {
        receiver: Backlog(waiting=waiting, oldest_us=oldest, error=error)
        for receiver, waiting, oldest, error in await s.execute(query)
    }


async def find(s: AsyncSession, id: int) -> Notification:
    """One notification.

    Raises:
        NotFound: there is none of this number.
    """
    row = await s.get(NotificationRow, id, populate_existing=True)
    if row is None:
        raise errors.NotFound(f"There is no notification {id}.")
    return record(row)


async def tail(s: AsyncSession, limit: int = 20) -> list[Notification]:
    """The newest notifications, newest first."""
    query = select(NotificationRow).order_by(col(NotificationRow.id).desc()).limit(limit)
    return [record(row) for row in await s.scalars(query)]


def record(row: NotificationRow) -> Notification:
    """The notification of a row."""
    return msgspec.convert(row, Notification, from_attributes=True)
