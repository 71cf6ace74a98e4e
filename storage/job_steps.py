"""The steps of jobs, by name, and the results that a resumed job continues with.

Written by `job_attempts` and `jobs`; read by every package.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col


class JobStepRow(SQLModel, table=True):
    """A step as it is kept; its result is JSON."""

    __tablename__: ClassVar[str] = "job_steps"

    job_id: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    position: int
    result: str | None
    started_at_us: int | None
    ended_at_us: int | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a job; once it has ended, `result` is what it returned."""

    job_id: int
    name: str
    position: int
    result: Any
    started_at_us: int | None
    ended_at_us: int | None


async def of(s: AsyncSession, id: int) -> list[Step]:
    """The steps of a job, in their order."""
    query = select(JobStepRow).where(col(JobStepRow.job_id) == id)
    query = query.order_by(col(JobStepRow.position)).execution_options(populate_existing=True)
    return [
        Step(
            job_id=row.job_id,
            name=row.name,
            position=row.position,
            result=None if row.result is None else msgspec.json.decode(row.result),
            started_at_us=row.started_at_us,
            ended_at_us=row.ended_at_us,
        )
        for row in await s.scalars(query)
    ]


async def record(s: AsyncSession, id: int, name: str, **columns: object) -> None:
    """Change columns of a step; a step that is not there is added."""
    row = await s.get(JobStepRow, (id, name), populate_existing=True)
    if row is None:
        row = JobStepRow(
            job_id=id,
            name=name,
            position=0,
            result=None,
            started_at_us=None,
            ended_at_us=None,
        )
        s.add(row)
    for column, value in columns.items():
        setattr(row, column, value)
    await s.flush()


async def reset(s: AsyncSession, id: int) -> None:
    """Forget the results of all steps of a job."""
    for step in await of(s, id):
        await record(s, id, step.name, result=None, started_at_us=None, ended_at_us=None)


async def remove(s: AsyncSession, ids: Collection[int]) -> None:
    """Delete the steps of these jobs."""
    await s.execute(delete(JobStepRow).where(col(JobStepRow.job_id).in_(ids)))
