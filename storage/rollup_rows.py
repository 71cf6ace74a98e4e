"""The rows of roll-ups and the mark that tells how far they are; see `storage.rollups`.

Decides nothing. Imported by `storage.rollups` and `app.exports`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import LargeBinary, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Column, Field, SQLModel, col

from storage import sample_rows, tallies
from storage.samples import Kind
from storage.tallies import ArmSample, Tally


class Span(IntEnum):
    """The seconds that a row covers, from a multiple of them on."""

    SECOND = 1
    MINUTE = 60
    HOUR = 3_600
    DAY = 86_400

    def begin(self, second: int) -> int:
        """The beginning of the span that a second is in."""
        return second // self * self


class RollupRow(SQLModel, table=True):
    """A roll-up as it is stored; the body is a packed tally in compressed msgpack."""

    __tablename__: ClassVar[str] = "rollups"

    kind: str = Field(primary_key=True)
    span_s: int = Field(primary_key=True)
    begin_s: int = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class MarkRow(SQLModel, table=True):
    """The one row that tells how far roll-ups are."""

    __tablename__: ClassVar[str] = "rollup_marks"

    id: int | None = Field(default=None, primary_key=True)
    until_s: int
    tenants_since_s: int
    seconds_from_s: int
    minutes_from_s: int
    hours_from_s: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How far roll-ups are, in seconds since 1970.

    They are complete before `until_s`; requests are counted by tenant from `tenants_since_s` on.
    Seconds, minutes and hours before `seconds_from_s`, `minutes_from_s` and `hours_from_s` were
    deleted.
    """

    until_s: int
    tenants_since_s: int
    seconds_from_s: int
    minutes_from_s: int
    hours_from_s: int


_COMPRESSED: Final = zlib.compress(b"")[:1]
_packer: Final = msgspec.msgpack.Encoder()
_unpacker: Final = msgspec.msgpack.Decoder(tallies.Packed)
_seconds: Final = msgspec.json.Decoder(ArmSample)


def _unpacked(body: bytes) -> tallies.Packed:
    """Of a row; those of earlier versions are not compressed, and begin with another byte."""
    plain = zlib.decompress(body) if body[:1] == _COMPRESSED else body
    return _unpacker.decode(plain)


async def mark(s: AsyncSession) -> Mark:
    """How far roll-ups are."""
    row = await s.get_one(MarkRow, 1, populate_existing=True)
    return Mark(
        row.until_s, row.tenants_since_s, row.seconds_from_s, row.minutes_from_s, row.hours_from_s
    )


async def set_mark(s: AsyncSession, **changes: int) -> None:
    """Change fields of the mark."""
    await s.execute(update(MarkRow).values(**changes))


async def add(
    s: AsyncSession,
    found: dict[str, Tally],
    kind: Kind,
    span: Span,
    begin: int,
    end: int,
    prefix: str = "",
) -> None:
    """Add the rows of a span that begin in a range, `end` excluded, to tallies by subject."""
    if span is Span.SECOND:
        for _, subject, second in await sample_rows.between(s, kind.value, begin, end - 1, prefix):
            found.setdefault(subject, Tally()).add(Tally.of(_seconds.decode(second)))
        return
    query = select(col(RollupRow.subject), col(RollupRow.body)).where(
        col(RollupRow.kind) == kind.value,
        col(RollupRow.span_s) == span.value,
        col(RollupRow.begin_s) >= begin,
        col(RollupRow.begin_s) < end,
    )
    if prefix:
        query = query.where(col(RollupRow.subject).startswith(prefix, autoescape=True))
    for subject, body in await s.execute(query):
        tallies.add_packed(found.setdefault(subject, Tally()), _unpacked(body))


async def replace(
    s: AsyncSession, kind: Kind, span: Span, begin: int, found: dict[str, Tally]
) -> None:
    """Make these the rows of a span that begins then."""
    await delete_between(s, kind, span, begin, begin + 1)
    rows = [
        {
            "kind": kind.value,
            "span_s": span.value,
            "begin_s": begin,
            "subject": subject,
            "body": zlib.compress(_packer.encode(tallies.pack(tally))),
        }
        for subject, tally in found.items()
    ]
    if rows:
        await s.execute(insert(RollupRow), rows)


async def delete_between(s: AsyncSession, kind: Kind, span: Span, begin: int, end: int) -> int:
    """Delete the rows of a span that begin in a range, `end` excluded; returns how many."""
    result = await s.execute(
        delete(RollupRow).where(
            col(RollupRow.kind) == kind.value,
            col(RollupRow.span_s) == span.value,
            col(RollupRow.begin_s) >= begin,
            col(RollupRow.begin_s) < end,
        )
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


async def begins(
    s: AsyncSession, kind: Kind, span: Span, begin: int, end: int, limit: int = 10_000
) -> list[int]:
    """The first `limit` beginnings of rows of a span in a range, `end` excluded."""
    query = (
        select(col(RollupRow.begin_s))
        .distinct()
        .where(
            col(RollupRow.kind) == kind.value,
            col(RollupRow.span_s) == span.value,
            col(RollupRow.begin_s) >= begin,
            col(RollupRow.begin_s) < end,
        )
        .order_by(col(RollupRow.begin_s))
        .limit(limit)
    )
    return list((await s.execute(query)).scalars())


async def next_second(s: AsyncSession, kind: Kind, since: int) -> int | None:
    """The first second from one on that has a sample."""
    return await sample_rows.first(s, kind.value, since)
