"""Feedback of clients on answers: a thumb, whether the answer was correct, a comment.

Written by the gateway; read through `storage.requests` and `storage.measures`.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
from sqlalchemy import column, delete, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Column, Field, SQLModel, col

from storage import errors
from storage.request_rows import RequestKey
from storage.store import upsert

_COMMENT: Final = 4_000
_requests: Final = table(
    "requests", column("key", RequestKey()),
    *map(column, ("service", "release", "tenant", "worker")),
)  # fmt: skip


class FeedbackRow(SQLModel, table=True):
    """Feedback as it is stored."""

    __tablename__: ClassVar[str] = "feedback"

    id: int | None = Field(default=None, primary_key=True)
    request_id: str = Field(sa_column=Column("request_id", RequestKey, nullable=False))
    at_us: int
    score: int
    correct: bool | None
    comment: str | None
    key_id: int


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback on an answer; `score` is 1 or -1, `correct` is None where the client did not say."""

    id: int
    request_id: str
    at_us: int
    score: int
    correct: bool | None
    comment: str | None
    key_id: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback of one release."""

    up: int = 0
    down: int = 0
    correct: int = 0
    wrong: int = 0


async def add(
    s: AsyncSession,
    *,
    request_id: str,
    at_us: int,
    score: int,
    correct: bool | None,
    comment: str | None,
    key_id: int,
) -> Feedback:
    """Store feedback on a request; it replaces what the same key said of it before."""
    if score not in {-1, 1}:
        raise errors.Invalid("The score of an answer is 1 or -1.")
    values = {
        "request_id": request_id,
        "key_id": key_id,
        "at_us": at_us,
        "score": score,
        "correct": correct,
        "comment": None if comment is None else comment[:_COMMENT],
    }
    await upsert(s, FeedbackRow, [values], key=("request_id", "key_id"))
    return next(each for each in await of(s, request_id) if each.key_id == key_id)


async def of(s: AsyncSession, request_id: str) -> list[Feedback]:
    """The feedback on a request, oldest first."""
    query = (
        select(FeedbackRow)
        .where(col(FeedbackRow.request_id) == request_id)
        .order_by(col(FeedbackRow.at_us), col(FeedbackRow.id))
        .execution_options(populate_existing=True)
    )
    return [msgspec.convert(row, Feedback, from_attributes=True) for row in await s.scalars(query)]


async def counts(
    s: AsyncSession,
    since_us: int = 0,
    until_us: int | None = None,
    *,
    service: str | None = None,
    tenant: str | None = None,
    worker: str | None = None,
) -> dict[tuple[str, int], Counts]:
    """Feedback by service and release, given from a moment on and before another one.

    Feedback on a request that has been deleted since is not counted: its release is unknown.
    """
    query = (
        select(
            _requests.c.service,
            _requests.c.release,
            func.count().filter(col(FeedbackRow.score) > 0),
            func.count().filter(col(FeedbackRow.score) < 0),
            func.count().filter(col(FeedbackRow.correct).is_(True)),
            func.count().filter(col(FeedbackRow.correct).is_(False)),
        )
        .join_from(FeedbackRow, _requests, _requests.c.key == col(FeedbackRow.request_id))
        .where(col(FeedbackRow.at_us) >= since_us, _requests.c.release.is_not(None))
        .group_by(_requests.c.service, _requests.c.release)
    )
    if until_us is not None:
        query = query.where(col(FeedbackRow.at_us) < until_us)
    scope = {"service": service, "tenant": tenant, "worker": worker}
    for name, wanted in scope.items():
        if wanted is not None:
            query = query.where(_requests.c[name] == wanted)
    return {
        (name, release): Counts(up=up, down=down, correct=correct, wrong=wrong)
        for name, release, up, down, correct, wrong in (await s.execute(query))
    }


async def prune(s: AsyncSession, before_us: int, limit: int) -> int:
    """Delete at most `limit` rows older than a moment; returns how many. Call it until 0."""
    old = select(col(FeedbackRow.id)).where(col(FeedbackRow.at_us) < before_us).limit(limit)
    gone = await s.execute(delete(FeedbackRow).where(col(FeedbackRow.id).in_(old)))
    return int(gone.rowcount)  # type: ignore[attr-defined]
