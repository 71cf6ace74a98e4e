"""Finding something by its name, and the refusal that lists the names there are.

Imported by the nouns of `storage`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, TypeVarTuple

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors

Ts = TypeVarTuple("Ts")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


def named(noun: str, name: str, known: Sequence[T]) -> T:
    """The one of several that has this name.

    Raises:
        NotFound: none has; the message lists those there are.
    """
    for each in known:
        if each.name == name:
            return each
    raise errors.unknown(noun, name, [each.name for each in known])


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
