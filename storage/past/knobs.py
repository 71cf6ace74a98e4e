"""The knobs that were set at a past moment. Imported by `app`."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage.knobs import KnobRow


async def of(s: AsyncSession, deployment: str, at_us: int) -> dict[str, int]:
    """The values of the knobs of a deployment that had been set; others had their defaults."""
    newest = (
        select(func.max(col(KnobRow.id)))
        .where(col(KnobRow.deployment) == deployment, col(KnobRow.set_at_us) <= at_us)
        .group_by(col(KnobRow.name))
    )
    query = select(KnobRow).where(col(KnobRow.id).in_(newest)).order_by(col(KnobRow.name))
    return {row.name: row.value for row in await s.scalars(query)}
