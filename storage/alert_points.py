"""What control measured at each round and no sample has: points that alert rules look back over.

A row is the value of a series from its moment on, until its next row; None says that the series had
none. Only changes are written. Written by control alone, in the transaction of a round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec
from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import Field, SQLModel, col

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A name, and its labels in the order of their names."""


class PointRow(SQLModel, table=True):
    """A point as it is stored; its series is JSON."""

    __tablename__: ClassVar[str] = "alert_points"

    series: str = Field(primary_key=True)
    at_s: int = Field(primary_key=True)
    value: float | None


async def read(s: AsyncSession, until_s: int) -> dict[Series, list[tuple[int, float | None]]]:
    """All points up to a second, by series, oldest first."""
    query = select(PointRow).where(col(PointRow.at_s) <= until_s)
    found: dict[Series, list[tuple[int, float | None]]] = {}
    for row in await s.scalars(query.order_by(col(PointRow.series), col(PointRow.at_s))):
        series = msgspec.json.decode(row.series, type=Series)
        found.setdefault(series, []).append((row.at_s, row.value))
    return found


async def write(s: AsyncSession, at_s: int, values: Mapping[Series, float | None]) -> None:
    """The values of series from a second on, which is later than all that were written."""
    s.add_all(
        PointRow(series=msgspec.json.encode(series).decode(), at_s=at_s, value=value)
        for series, value in values.items()
    )
    await s.flush()


async def cut(s: AsyncSession, from_s: int) -> None:
    """Delete the points of a second and of later ones: the clock was set back."""
    await s.execute(delete(PointRow).where(col(PointRow.at_s) >= from_s))


async def prune(s: AsyncSession, names: Iterable[str], before_s: int) -> None:
    """Delete points that say nothing of a second or later, and the series of other names."""
    later = aliased(PointRow)
    newer = exists().where(
        col(later.series) == col(PointRow.series),
        col(later.at_s) > col(PointRow.at_s),
        col(later.at_s) <= before_s,
    )
    await s.execute(delete(PointRow).where(col(PointRow.at_s) < before_s, newer))
    known = {each for (each,) in await s.execute(select(col(PointRow.series)).distinct())}
    kept = set(names)
    gone = [each for each in known if msgspec.json.decode(each, type=Series)[0] not in kept]
    if gone:
        await s.execute(delete(PointRow).where(col(PointRow.series).in_(gone)))
