"""Rollouts and A/B tests as they were at a past moment, by their events.

Imported by the modules of `storage.past` of these nouns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, guided_changes


class Numbered(Protocol):
    """One of them."""

    @property
    def id(self) -> int:
        """Its number."""


class Dated(Protocol):
    """A move of one."""

    @property
    def at_us(self) -> int:
        """When it was made."""


T = TypeVar("T", bound=Numbered)
E = TypeVar("E", bound=Dated)


@dataclass(frozen=True, slots=True)
class Past(Generic[T, E]):
    """How those of one noun are found; `then` makes one what it was after some of its events."""

    kept: guided_changes.Kept[Any, T]
    moves: Callable[[AsyncSession, int], Awaitable[list[E]]]
    then: Callable[[T, Sequence[E]], T]

    async def tail(
        self, s: AsyncSession, at_us: int, limit: int = 100, *, service: str | None = None
    ) -> list[T]:
        """The newest up to a moment, newest first, of all services or one."""
        known = await self.kept.tail(s, limit, service=service, until_us=at_us)
        return [self.then(each, await self.events_of(s, each.id, at_us)) for each in known]

    async def latest(self, s: AsyncSession, service: str, at_us: int) -> T | None:
        """The newest of a service, if it had had one."""
        found = await self.tail(s, at_us, 1, service=service)
        return found[0] if found else None

    async def find(self, s: AsyncSession, id: int, at_us: int) -> T:
        """One by its number.

        Raises:
            NotFound: there is none with this number, or it had not been started.
        """
        known = await self.kept.find(s, id)
        events = await self.events_of(s, id, at_us)
        if not events:
            noun = self.kept.noun[:1].upper() + self.kept.noun[1:]
            raise errors.NotFound(f"{noun} {id} had not been started then.")
        return self.then(known, events)

    async def events_of(self, s: AsyncSession, id: int, at_us: int) -> list[E]:
        """The moves up to a moment, oldest first."""
        return [each for each in await self.moves(s, id) if each.at_us <= at_us]
