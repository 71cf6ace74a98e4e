"""What rollouts and A/B tests have in common: a change of a service's split, led by moves.

Each has a number, a service, and a version that grows with every move, by which of several callers
exactly one wins; it keeps why it moved last, in a word and a sentence, and when it ended. Knows no
column but these. Imported by the nouns of `storage` that guide a change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import inspect, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from storage import errors, moves

S_co = TypeVar("S_co", bound=StrEnum, covariant=True)
S = TypeVar("S", bound=StrEnum)
R = TypeVar("R", bound=SQLModel)
T = TypeVar("T")


class Guided(Protocol[S_co]):
    """One of them, as a caller saw it."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def version(self) -> int:
        """Grows with each move."""

    @property
    def state(self) -> S_co:
        """Its state."""

    @property
    def ended_at_us(self) -> int | None:
        """When it ended first; None while it is under way."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[R, T]):
    """How the rows of one noun are found; `command` lists them, for the error of a missing one."""

    row: type[R]
    noun: str
    command: str
    record: Callable[[R], T]

    async def find(self, s: AsyncSession, id: int) -> T:
        """By its number.

        Raises:
            NotFound: there is none with this number.
        """
        row = await s.get(self.row, id, populate_existing=True)
        if row is None:
            raise errors.NotFound(f"There is no {self.noun} {id}; see `{self.command}`.")
        return self.record(row)

    async def latest(self, s: AsyncSession, service: str) -> T | None:
        """The newest of a service, if it has had one."""
        found = await self.tail(s, 1, service=service)
        return found[0] if found else None

    async def tail(
        self,
        s: AsyncSession,
        limit: int = 100,
        *,
        service: str | None = None,
        until_us: int | None = None,
    ) -> list[T]:
        """The newest, newest first, of all services or one; those that began by `until_us`."""
        column = inspect(self.row).columns
        query = select(self.row).order_by(column.id.desc()).limit(limit)
        if service is not None:
            query = query.where(column.service == service)
        if until_us is not None:
            query = query.where(column.started_at_us <= until_us)
        return await self.every(s, query)

    async def every(self, s: AsyncSession, query: Any) -> list[T]:
        """Those that a query finds, as they are in the store now."""
        rows = await s.scalars(query.execution_options(populate_existing=True))
        return [self.record(row) for row in rows]


async def move(
    s: AsyncSession,
    table: moves.Table[S],
    row_type: type[SQLModel],
    seen: Guided[S],
    to: S,
    why: StrEnum,
    sentence: str,
    *,
    open: Collection[S],
    named: str,
    actor: str,
    at_us: int,
    intent_id: int | None,
    changes: Mapping[str, Any],
) -> None:
    """Move it and change other columns with it; in a state that is not `open` it has ended.

    Raises:
        Invalid: the move is not legal.
        Moved: it is not as it was seen.
    """
    row: Any = await s.get_one(row_type, seen.id, populate_existing=True)
    if row.version != seen.version:
        raise errors.Moved(f"{named} changed since you looked: {row.sentence}")
    ended_at_us = None if to in open else seen.ended_at_us or at_us
    told = {"why": why.value, "sentence": sentence, "moved_at_us": at_us}
    told |= {"version": seen.version + 1, "ended_at_us": ended_at_us}
    await moves.move(
        s, table, row_type, seen.id, seen.state, to, actor=actor, at_us=at_us,
        verb=f"{inspect(row_type).local_table.name}.{why.value}", intent_id=intent_id,
        changes={**changes, **told},
    )  # fmt: skip


async def change(
    s: AsyncSession, row_type: type[SQLModel], id: int, values: Mapping[str, Any]
) -> None:
    """Set columns other than the state."""
    await s.execute(
        update(row_type)
        .where(inspect(row_type).primary_key[0] == id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
