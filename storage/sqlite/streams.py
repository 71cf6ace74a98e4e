"""The rows of a query a few at a time: a long list does not keep an event loop from its other work.

Imported by `storage.store`, from where the nouns use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, TypeVarTuple

from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

Ts = TypeVarTuple("Ts")

CHUNK: Final = 32
"""Rows that are fetched and converted between two turns of the event loop, a few milliseconds."""


async def stream(s: AsyncSession, query: Select[*Ts]) -> AsyncIterator[Row[*Ts]]:
    """The rows of a query in its order; do not write before the last one."""
    found = await s.stream(query.execution_options(yield_per=CHUNK))
    async for chunk in found.partitions():
        for row in chunk:
            yield row
