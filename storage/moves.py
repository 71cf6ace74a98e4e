"""State transitions: which are legal, made by compare-and-set together with their ledger entry.

A noun with states keeps a `MOVES = moves.Table(...)` beside its enum; `docs/states.md` is generated
from these tables and from the docstrings of the enums. Nothing else changes a state. Imported by
the nouns of `storage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy import inspect as mapping
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from storage import errors, ledger

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Table(Generic[S]):
    """The legal moves of one noun: for each state, those that may follow."""

    noun: str
    column: str
    begins: frozenset[S]
    legal: Mapping[S, frozenset[S]]

    def allows(self, frm: S, to: S) -> bool:
        """Whether the move is legal."""
        return to in self.legal.get(frm, frozenset())

    def ends(self) -> frozenset[S]:
        """The final states: those that nothing follows."""
        return frozenset(state for state, following in self.legal.items() if not following)


async def move(
    s: AsyncSession,
    table: Table[S],
    row: type[SQLModel],
    key: int | str,
    frm: S,
    to: S,
    *,
    actor: str,
    at_us: int,
    verb: str | None = None,
    intent_id: int | None = None,
    changes: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Move one row from `frm` to `to`, change other columns with it, and write the ledger.

    `reason` is why it moves, where no intent says it.

    Raises:
        Invalid: the table does not allow the move.
        Moved: the row is in another state by now; exactly one of several callers wins.
        NotFound: there is no such row.
    """
    if not table.allows(frm, to):
        follow = ", ".join(sorted(table.legal.get(frm, frozenset()))) or "nothing"
        raise errors.Invalid(f"A {table.noun} that is {frm} cannot become {to}; legal: {follow}.")
    mapped = mapping(row)
    primary = mapped.primary_key[0]
    state = mapped.local_table.c[table.column]
    result = cast(
        "CursorResult[Any]",
        await s.execute(
            update(row)
            .where(primary == key, state == frm.value)
            .values({table.column: to.value, **(changes or {})})
            .execution_options(synchronize_session="fetch")
        ),
    )
    if result.rowcount != 1:
        found = (await s.execute(select(state).where(primary == key))).scalar()
        if found is None:
            raise errors.NotFound(f"There is no {table.noun} {key}.")
        raise errors.Moved(
            f"{table.noun} {key} changed since you looked: it is {found}, not {frm}. Look again."
        )
    await ledger.write(
        s,
        actor=actor,
        verb=verb or to.value,
        noun=table.noun,
        key=str(key),
        before=frm.value,
        after=to.value,
        at_us=at_us,
        intent_id=intent_id,
        reason=reason or "",
    )
