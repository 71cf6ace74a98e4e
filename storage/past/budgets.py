"""The budgets that there were at a past moment, by the ledger. Imported by `app`."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import ledger
from storage.budgets import Budget, Period
from storage.ledger import LedgerRow


async def every(s: AsyncSession, at_us: int) -> list[Budget]:
    """The budgets at that moment, by scope and subject."""
    query = select(LedgerRow).where(col(LedgerRow.noun) == "budget", col(LedgerRow.at_us) <= at_us)
    known: dict[tuple[str, Period], Budget] = {}
    for row in await s.scalars(query.order_by(col(LedgerRow.id))):
        entry = ledger.entry(row)
        budget = msgspec.convert(entry.after or entry.before, Budget, strict=False)
        if entry.after is None:
            known.pop((budget.name, budget.period), None)
        else:
            known[budget.name, budget.period] = budget
    return [known[key] for key in sorted(known)]
