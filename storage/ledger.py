"""The ledger: who changed what, one entry for each change, in the transaction of the change.

Entries are never changed and never deleted: the store refuses it, and a chain of hashes finds it
(`ledger_chain`). The functions of the nouns write them, so their callers cannot forget to. Read by
every package.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from sqlalchemy import String, cast, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger_chain
from storage.store import Store

_intents: Final = table("intents", column("id"), column("reason"))


class LedgerRow(SQLModel, table=True):
    """An entry as it is stored; `before` and `after` are JSON."""

    __tablename__: ClassVar[str] = "ledger"

    id: int | None = Field(default=None, primary_key=True)
    at_us: int
    actor: str
    verb: str
    noun: str
    key: str
    before: str | None
    after: str | None
    intent_id: int | None
    reason: str = ""
    hash: str = ""


_ASKED: Final = (
    select(_intents.c.reason)
    .where(_intents.c.id == col(LedgerRow.intent_id))
    .correlate(LedgerRow)
    .scalar_subquery()
)
_TEXT: Final = functools.reduce(
    lambda text, part: text + " " + part,
    (
        cast(col(LedgerRow.id), String),
        func.strftime("%m-%d %H:%M", col(LedgerRow.at_us) // 1_000_000, "unixepoch", type_=String),
        col(LedgerRow.actor),
        col(LedgerRow.verb),
        col(LedgerRow.noun),
        col(LedgerRow.key),
        col(LedgerRow.reason),
        func.coalesce(_ASKED, "", type_=String),
    ),
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `before` is None for what was created, `after` for what was removed.

    `reason` is why a machine made the change, or a person without an intent; the reason of an
    intent is its own (see `reasons`).
    """

    id: int
    at_us: int
    actor: str
    verb: str
    noun: str
    key: str
    before: Any
    after: Any
    intent_id: int | None
    reason: str = ""


class Change(NamedTuple):
    """What an entry is about: the kind of thing, and which."""

    noun: str
    key: str


async def write(
    s: AsyncSession,
    *,
    actor: str,
    verb: str,
    noun: str,
    key: str,
    before: object,
    after: object,
    at_us: int,
    intent_id: int | None = None,
    reason: str = "",
) -> None:
    """Add an entry in the transaction of the change that it records."""
    newest = select(col(LedgerRow.hash)).order_by(col(LedgerRow.id).desc()).limit(1)
    last = (await s.execute(newest)).scalar()
    row = LedgerRow(
        at_us=at_us,
        actor=actor,
        verb=verb,
        noun=noun,
        key=key,
        before=None if before is None else msgspec.json.encode(before).decode(),
        after=None if after is None else msgspec.json.encode(after).decode(),
        intent_id=intent_id,
        reason=reason,
    )
    content = tuple(getattr(row, name) for name in ledger_chain.CONTENT)
    row.hash = ledger_chain.link(last or ledger_chain.BEGINNING, content)
    s.add(row)
    await s.flush()


async def tail(
    s: AsyncSession,
    limit: int = 100,
    before_id: int | None = None,
    *,
    actor: str | None = None,
    noun: str | None = None,
    text_filter: str = "",
    until_us: int | None = None,
) -> list[Entry]:
    """The newest entries, newest first; those before one, or those up to a moment.

    `actor` and `noun` keep what one person did, and what was done to one kind of thing,
    `text_filter` those with each of its words in the number, the moment (as 01-31 12:00), the
    actor, the verb, the noun, the key or the reason, capital or not where a letter is ASCII. They
    look through the whole ledger where little fits.
    """
    query = select(LedgerRow).order_by(col(LedgerRow.id).desc()).limit(limit)
    if before_id is not None:
        query = query.where(col(LedgerRow.id) < before_id)
    if until_us is not None:
        newest_id = await newest_at(s, until_us)
        query = query.where(col(LedgerRow.id) <= newest_id, col(LedgerRow.at_us) <= until_us)
    if actor is not None:
        query = query.where(col(LedgerRow.actor) == actor)
    if noun is not None:
        query = query.where(col(LedgerRow.noun) == noun)
    for word in text_filter.split():
        query = query.where(_TEXT.contains(word, autoescape=True))
    return [entry(row) for row in await s.scalars(query)]


async def between(s: AsyncSession, begin_us: int, end_us: int, limit: int = 500) -> list[Entry]:
    """The entries from one moment to another, oldest first; of more than `limit` the newest."""
    query = (
        select(LedgerRow)
        .where(col(LedgerRow.at_us).between(begin_us, end_us))
        .order_by(col(LedgerRow.at_us).desc(), col(LedgerRow.id).desc())
        .limit(limit)
    )
    return [entry(row) for row in await s.scalars(query)][::-1]


async def find(s: AsyncSession, id: int) -> Entry:
    """By its number.

    Raises:
        NotFound: there is no such entry.
    """
    row = await s.get(LedgerRow, id)
    if row is None:
        raise errors.NotFound(f"The ledger has no entry {id}; see `paddock ledger tail`.")
    return entry(row)


_NEWEST: Final = select(func.max(col(LedgerRow.id)))


async def newest(s: AsyncSession, noun: str | None = None) -> int:
    """The id of the newest entry, or of the newest about a noun; 0 while there is none."""
    query = select(func.max(col(LedgerRow.id)))
    if noun is not None:
        query = query.where(col(LedgerRow.noun) == noun)
    return await s.scalar(query) or 0


def glimpse(store: Store) -> int:
    """As `newest`, in microseconds; raises what `Store.glimpse` does."""
    return store.glimpse(_NEWEST)[0][0] or 0


async def newest_at(s: AsyncSession, at_us: int) -> int:
    """The id of the newest entry up to a moment; 0 before the first.

    A session is asked once for each moment: what came after it is gone through, for an entry may be
    older than one before it, where the clock was set back.
    """
    known = ("ledger.newest_at", at_us)
    if known not in s.info:
        id = col(LedgerRow.id)
        query = select(id).where(col(LedgerRow.at_us) <= at_us).order_by(id.desc()).limit(1)
        s.info[known] = await s.scalar(query) or 0
    return int(s.info[known])


async def changes(s: AsyncSession, after: int, limit: int) -> list[Change]:
    """What the entries after the one with this id are about, oldest first."""
    query = select(col(LedgerRow.noun), col(LedgerRow.key)).where(col(LedgerRow.id) > after)
    found = await s.execute(query.order_by(col(LedgerRow.id)).limit(limit))
    return [Change(noun, key) for noun, key in found]


async def of(s: AsyncSession, noun: str, key: str, limit: int = 100) -> list[Entry]:
    """The newest entries about one thing, newest first."""
    query = (
        select(LedgerRow)
        .where(col(LedgerRow.noun) == noun, col(LedgerRow.key) == key)
        .order_by(col(LedgerRow.id).desc())
        .limit(limit)
    )
    return [entry(row) for row in await s.scalars(query)]


async def reasons(s: AsyncSession, entries: Iterable[Entry]) -> dict[int, str]:
    """The reasons that people gave for changes, by the id of the intent; only those given."""
    asked = {entry.intent_id for entry in entries if entry.intent_id is not None}
    query = select(_intents.c.id, _intents.c.reason).where(
        _intents.c.id.in_(asked), _intents.c.reason != ""
    )
    return {found.id: found.reason for found in await s.execute(query)}


async def caused(s: AsyncSession, intent_id: int) -> list[Entry]:
    """The entries of what was done for an intent, oldest first. Scans the whole ledger."""
    query = select(LedgerRow).where(col(LedgerRow.intent_id) == intent_id)
    return [entry(row) for row in await s.scalars(query.order_by(col(LedgerRow.id)))]


def entry(row: LedgerRow) -> Entry:
    """The entry of a row."""
    return Entry(
        id=row.id or 0,
        at_us=row.at_us,
        actor=row.actor,
        verb=row.verb,
        noun=row.noun,
        key=row.key,
        before=None if row.before is None else msgspec.json.decode(row.before),
        after=None if row.after is None else msgspec.json.decode(row.after),
        intent_id=row.intent_id,
        reason=row.reason,
    )
