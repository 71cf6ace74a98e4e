"""The refusal of a name that is not there, with the first of those that are.

Imported by the nouns of `storage`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVarTuple

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors

Ts = TypeVarTuple("Ts")


async def refusal(
    s: AsyncSession,
    noun: str,
    name: object,
    known: Select[*Ts],
    word: Callable[..., str] = str,
) -> errors.NotFound:
    """NotFound for `name`; `known` selects what `word` makes a name of, in the order shown."""
    shown = [word(*row) for row in await s.execute(known.limit(errors.SHOWN))]
    total = select(func.count()).select_from(known.order_by(None).subquery())
    return errors.unknown(noun, name, shown, await s.scalar(total))
