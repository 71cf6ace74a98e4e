"""The rows of samples: of the last minutes by the second, of earlier ones packed by the minute.

A second's figures differ little from the next one's, so a minute of a subject is kept as one
compressed row, a tenth of the size. A minute of a kind is either packed or not; what is written
late unpacks it first, so that readers and writers see seconds alike. Bodies are JSON and foreign
here. Imported by `storage.samples` and `storage.rollup_rows`.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import (
    Integer,
    LargeBinary,
    Select,
    String,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Column, Field, SQLModel, col

from storage.store import insert_new, upsert

MINUTE_S: Final = 60
_LEVEL: Final = 6


class SampleRow(SQLModel, table=True):
    """A sample as it is stored; the body is JSON."""

    __tablename__: ClassVar[str] = "samples"

    kind: str = Field(primary_key=True)
    second: int = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    body: str


class MinuteRow(SQLModel, table=True):
    """A minute of samples: pairs of the second within it and the body, as compressed JSON."""

    __tablename__: ClassVar[str] = "sample_minutes"

    kind: str = Field(primary_key=True)
    minute_s: int = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


@dataclass(frozen=True, slots=True)
class Known:
    """Whether a second is written, its minute packed, and whether there are later samples."""

    written: bool
    packed: bool
    later: bool


Body = str | msgspec.Raw
_decoder: Final = msgspec.json.Decoder(list[tuple[int, msgspec.Raw]])

_kinds: Final = bindparam("kinds", type_=String, expanding=True)
_leading: Final = bindparam("leading", type_=String)
_later: Final = bindparam("later", type_=Integer)
_KNOWN: Final = select(
    exists().where(
        col(SampleRow.kind).in_(_kinds), col(SampleRow.second) == bindparam("second", type_=Integer)
    ),
    exists().where(
        col(MinuteRow.kind).in_(_kinds),
        col(MinuteRow.minute_s) == bindparam("minute_s", type_=Integer),
    ),
    or_(
        exists().where(col(SampleRow.kind) == _leading, col(SampleRow.second) > _later),
        exists().where(col(MinuteRow.kind) == _leading, col(MinuteRow.minute_s) > _later),
    ),
)


async def between(
    s: AsyncSession,
    kind: str,
    begin: int,
    end: int | None = None,
    prefix: str = "",
) -> list[tuple[int, str, Body]]:
    """(second, subject, body) from one second to another, both included, by second and subject."""
    found: list[tuple[int, str, Body]] = []
    minutes = select(col(MinuteRow.minute_s), col(MinuteRow.subject), col(MinuteRow.body)).where(
        col(MinuteRow.kind) == kind, col(MinuteRow.minute_s) >= minute(begin)
    )
    seconds = select(col(SampleRow.second), col(SampleRow.subject), col(SampleRow.body)).where(
        col(SampleRow.kind) == kind, col(SampleRow.second) >= begin
    )
    if end is not None:
        minutes = minutes.where(col(MinuteRow.minute_s) <= end)
        seconds = seconds.where(col(SampleRow.second) <= end)
    if prefix:
        minutes = minutes.where(col(MinuteRow.subject).startswith(prefix, autoescape=True))
        seconds = seconds.where(col(SampleRow.subject).startswith(prefix, autoescape=True))
    for of, subject, body in await s.execute(minutes):
        found += [
            (of + within, subject, each)
            for within, each in _unpacked(body)
            if of + within >= begin and (end is None or of + within <= end)
        ]
    rows = await s.execute(seconds.order_by(col(SampleRow.second), col(SampleRow.subject)))
    if not found:
        return [(row[0], row[1], row[2]) for row in rows]
    found += [(row[0], row[1], row[2]) for row in rows]
    return sorted(found, key=lambda each: each[:2])


async def edge(s: AsyncSession, kinds: Iterable[str], until: int) -> tuple[int | None, int | None]:
    """Of some kinds, up to a second: the newest one not packed, and the newest packed minute."""
    plain, packed = (await s.execute(_edge(tuple(kinds)), {"until": until})).one()
    return plain, packed


@functools.cache
def _edge(kinds: tuple[str, ...]) -> Select[Any]:
    until = bindparam("until", type_=Integer)
    newest = [
        union_all(
            *(select(func.max(at).label("at")).where(of == kind, at <= until) for kind in kinds)
        ).subquery()
        for of, at in (
            (col(SampleRow.kind), col(SampleRow.second)),
            (col(MinuteRow.kind), col(MinuteRow.minute_s)),
        )
    ]
    plain, packed = (select(func.max(each.c.at)).scalar_subquery() for each in newest)
    return select(plain, packed)


async def newest(s: AsyncSession, kind: str, until: int) -> int | None:
    """The newest second up to one, which is included, that has a sample of a kind."""
    query = select(func.max(col(SampleRow.second))).where(
        col(SampleRow.kind) == kind, col(SampleRow.second) <= until
    )
    second = (await s.execute(query)).scalar()
    at: int | None = until + 1
    while (at := await _packed(s, kind, before=at)) is not None:
        if second is not None and at + MINUTE_S <= second:
            break
        known = [each for each in await _seconds(s, kind, at) if each <= until]
        if known:
            return max(*known, second or 0)
    return second


async def first(s: AsyncSession, kind: str, since: int) -> int | None:
    """The first second from one on that has a sample of a kind."""
    query = select(func.min(col(SampleRow.second))).where(
        col(SampleRow.kind) == kind, col(SampleRow.second) >= since
    )
    second = (await s.execute(query)).scalar()
    at: int | None = since - MINUTE_S
    while (at := await _packed(s, kind, after=at)) is not None:
        if second is not None and at > second:
            break
        known = [each for each in await _seconds(s, kind, at) if each >= since]
        if known:
            return min(known) if second is None else min(*known, second)
    return second


async def known(
    s: AsyncSession, second: int, kinds: Iterable[str], *, leading: str, later: int
) -> Known:
    """What there is where samples of some kinds are to be written in a second.

    `Known.later` is whether the kind `leading` has samples after the second `later`.
    """
    values = {
        "kinds": list(kinds), "second": second, "minute_s": minute(second),
        "leading": leading, "later": later,
    }  # fmt: skip
    written, packed, after = (await s.execute(_KNOWN, values)).one()
    return Known(bool(written), bool(packed), bool(after))


async def unpack(s: AsyncSession, second: int, kinds: Iterable[str]) -> None:
    """Make the minute of a second one of plain rows again, to write in it."""
    at = minute(second)
    of = (col(MinuteRow.kind).in_(list(kinds)), col(MinuteRow.minute_s) == at)
    columns = (col(MinuteRow.kind), col(MinuteRow.subject), col(MinuteRow.body))
    rows = [
        {"kind": kind, "second": at + within, "subject": subject, "body": bytes(body).decode()}
        for kind, subject, packed in await s.execute(select(*columns).where(*of))
        for within, body in _unpacked(packed)
    ]
    if rows:
        await insert_new(s, SampleRow, rows, key=("kind", "second", "subject"))
        await s.execute(delete(MinuteRow).where(*of))


async def pack(s: AsyncSession, kind: str, before_s: int, minutes: int) -> bool:
    """Pack at most this many whole minutes before a moment; whether there are more of them."""
    for _ in range(minutes):
        query = select(func.min(col(SampleRow.second))).where(
            col(SampleRow.kind) == kind, col(SampleRow.second) < minute(before_s)
        )
        oldest = (await s.execute(query)).scalar()
        if oldest is None:
            return False
        at = minute(oldest)
        await unpack(s, at, [kind])
        of = (col(SampleRow.kind) == kind, col(SampleRow.second).between(at, at + MINUTE_S - 1))
        columns = (col(SampleRow.subject), col(SampleRow.second), col(SampleRow.body))
        rows = await s.execute(select(*columns).where(*of).order_by(*columns[:2]))
        bodies: dict[str, list[str]] = {}
        for subject, second, body in rows:
            bodies.setdefault(subject, []).append(f"[{second - at},{body}]")
        values = [
            {"kind": kind, "minute_s": at, "subject": subject, "body": _compressed(each)}
            for subject, each in bodies.items()
        ]
        await s.execute(insert(MinuteRow), values)
        await s.execute(delete(SampleRow).where(*of))
    return True


async def prune(s: AsyncSession, kind: str, before_s: int, limit: int) -> int:
    """Delete at most `limit` rows of a kind from before a second; returns how many."""
    gone = 0
    for row, at, before in (
        (SampleRow, SampleRow.second, before_s),
        (MinuteRow, MinuteRow.minute_s, before_s - MINUTE_S + 1),
    ):
        table: Any = row
        columns = (col(table.kind), col(at), col(table.subject))
        old = select(*columns).where(col(table.kind) == kind, col(at) < before).limit(limit - gone)
        result: Any = await s.execute(delete(table).where(tuple_(*columns).in_(old)))
        gone += result.rowcount
    return gone


async def write(s: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Store rows of seconds whose minutes are not packed; a later one replaces an earlier."""
    await upsert(s, SampleRow, rows, key=("kind", "second", "subject"))


def minute(second: int) -> int:
    """The beginning of the minute that a second is in."""
    return second // MINUTE_S * MINUTE_S


async def _packed(
    s: AsyncSession, kind: str, *, before: int | None = None, after: int | None = None
) -> int | None:
    """The next packed minute that begins before, or after, a second."""
    at = col(MinuteRow.minute_s)
    query = select(func.max(at) if after is None else func.min(at))
    query = query.where(col(MinuteRow.kind) == kind)
    query = query.where(at < before) if after is None else query.where(at > after)
    return (await s.execute(query)).scalar()


async def _seconds(s: AsyncSession, kind: str, at: int) -> list[int]:
    """The seconds of a packed minute that have a sample."""
    query = select(col(MinuteRow.body)).where(
        col(MinuteRow.kind) == kind, col(MinuteRow.minute_s) == at
    )
    return [at + within for body in await s.scalars(query) for within, _ in _unpacked(body)]


def _compressed(pairs: Sequence[str]) -> bytes:
    return zlib.compress(f"[{','.join(pairs)}]".encode(), _LEVEL)


def _unpacked(body: bytes) -> list[tuple[int, msgspec.Raw]]:
    return _decoder.decode(zlib.decompress(body))
