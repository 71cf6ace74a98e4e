"""The logs of jobs: the newest lines of each, for people who may read the store alone.

Written by a job's own process; read by every package.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

LINES: Final = 500
"""The newest lines of a job's log that are kept."""
_LINE: Final = 2000


class JobLineRow(SQLModel, table=True):
    """A line of a job's log as it is kept."""

    __tablename__: ClassVar[str] = "job_lines"

    id: int | None = Field(default=None, primary_key=True)
    job_id: int
    at_us: int
    text: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's log; `id` grows from line to line."""

    id: int
    at_us: int
    text: str


async def append(
    s: AsyncSession, id: int, lines: Sequence[tuple[int, str]], *, keep: int = LINES
) -> None:
    """Add (at_us, text) lines to a job's log, and drop all but the newest `keep`."""
    for at_us, text in lines:
        s.add(JobLineRow(job_id=id, at_us=at_us, text=text[:_LINE]))
    await s.flush()
    oldest = select(col(JobLineRow.id)).where(col(JobLineRow.job_id) == id)
    oldest = oldest.order_by(col(JobLineRow.id).desc()).offset(keep)
    await s.execute(
        delete(JobLineRow)
        .where(col(JobLineRow.id).in_(oldest))
        .execution_options(synchronize_session=False)
    )


async def read(s: AsyncSession, id: int, after: int = 0, limit: int = LINES) -> list[Line]:
    """The newest lines of a job's log whose id is above `after`, oldest first."""
    query = select(JobLineRow).where(col(JobLineRow.job_id) == id, col(JobLineRow.id) > after)
    rows = await s.scalars(query.order_by(col(JobLineRow.id).desc()).limit(limit))
    return [Line(id=row.id or 0, at_us=row.at_us, text=row.text) for row in rows][::-1]


async def remove(s: AsyncSession, ids: Collection[int]) -> None:
    """Delete the logs of these jobs."""
    await s.execute(delete(JobLineRow).where(col(JobLineRow.job_id).in_(ids)))
