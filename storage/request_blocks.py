"""Blocks of 256 requests by number: when those of a block arrived, and which facets they have.

They replace indexes that would have an entry for each request: numbers grow with time, so a block
says nearly as well where to look, for a thousandth of the room (the zone maps of column stores,
after Moerkotte, VLDB 1998). A block that an old request was recorded in late is read in vain, and
nothing is missed. Imported by `storage.requests`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.request_rows import FacetRow, RequestRow, StoredRow
from storage.store import upsert

SIZE: Final = 256
_FIRST: Final = 4
_WIDER: Final = 4

Conditions = Callable[[type[RequestRow | FacetRow]], Sequence[ColumnElement[bool]]]
"""What requests have to be, as conditions on facets and, alike, on requests."""


class BlockRow(SQLModel, table=True):
    """The first and the last arrival of a block's requests."""

    __tablename__: ClassVar[str] = "request_blocks"

    block: int = Field(primary_key=True)
    least_at_us: int
    most_at_us: int


class BlockFacetRow(SQLModel, table=True):
    """That a block has requests of a facet."""

    __tablename__: ClassVar[str] = "request_block_facets"

    facet: int = Field(primary_key=True)
    block: int = Field(primary_key=True)


async def numbers(s: AsyncSession, begin_us: int, end_us: int) -> tuple[int, int]:
    """The lowest and the highest number of the requests that arrived in a range; (1, 0): none."""
    arrived = col(StoredRow.at_us)
    inside = (arrived >= begin_us, arrived < end_us)
    zone = (col(BlockRow.most_at_us) >= begin_us, col(BlockRow.least_at_us) < end_us)
    low = await _edge(s, zone, inside, descending=False)
    if low is None:
        return 1, 0
    return low, await _edge(s, zone, inside, descending=True) or low


async def following(s: AsyncSession, until_us: int) -> int:
    """A number after those of all requests that arrived up to a moment."""
    zone, inside = (col(BlockRow.least_at_us) <= until_us,), (col(StoredRow.at_us) <= until_us,)
    return (await _edge(s, zone, inside, descending=True) or 0) + 1


async def read(
    s: AsyncSession,
    conditions: Conditions,
    low: int,
    high: int,
    limit: int,
    *,
    descending: bool = False,
    where: Sequence[ColumnElement[bool]] = (),
) -> list[RequestRow]:
    """The first `limit` requests from number `low` to `high` that are so, in order of number.

    Only blocks that have such facets are read, in ever wider steps: `number + 0` keeps SQLite from
    reading the whole range of numbers instead.
    """
    first = (await s.execute(select(func.min(col(BlockRow.block))))).scalar() or 0
    facets = select(col(FacetRow.id)).where(*conditions(FacetRow))
    number = col(RequestRow.number)
    found: list[RequestRow] = []
    for begin, end in _steps(max(low // SIZE, first), high // SIZE, descending=descending):
        block = col(BlockFacetRow.block)
        blocks = (
            select(block)
            .distinct()
            .where(col(BlockFacetRow.facet).in_(facets), block.between(begin, end))
            .subquery()
        )
        query = (
            select(RequestRow)
            .join(blocks, number.between(blocks.c.block * SIZE, blocks.c.block * SIZE + SIZE - 1))
            .where((number + 0).between(low, high), *conditions(RequestRow), *where)
            .order_by(number.desc() if descending else number)
            .limit(limit - len(found))
        )
        found += (await s.scalars(query)).all()
        if len(found) >= limit:
            break
    return found


async def prune(s: AsyncSession, before_us: int, limit: int) -> int:
    """Delete about `limit` requests that arrived before a moment, by blocks; returns how many.

    A facet goes with its last block.
    """
    query = select(col(BlockRow.block)).where(col(BlockRow.least_at_us) < before_us)
    blocks = list(await s.scalars(query.order_by(col(BlockRow.block)).limit(max(limit // SIZE, 1))))
    gone, left, empty = 0, limit, []
    for block in blocks:
        number = col(StoredRow.number)
        inside = number.between(block * SIZE, block * SIZE + SIZE - 1)
        old = select(number).where(inside, col(StoredRow.at_us) < before_us).limit(left)
        result: Any = await s.execute(delete(StoredRow).where(number.in_(old)))
        gone, left = gone + result.rowcount, left - result.rowcount
        arrived = col(StoredRow.at_us)
        rest = select(func.count(), func.min(arrived), func.max(arrived)).where(inside)
        count, least, most = (await s.execute(rest)).one()
        if count:
            await _write(s, {block: (least, most)})
        else:
            empty.append(block)
        if left <= 0:
            break
    await _forget(s, empty)
    return gone


async def _forget(s: AsyncSession, blocks: list[int]) -> None:
    if not blocks:
        return
    every = select(col(FacetRow.id))
    facet, block = col(BlockFacetRow.facet), col(BlockFacetRow.block)
    of = (facet.in_(every), block.between(blocks[0], blocks[-1]), block.in_(blocks))
    concerned = set((await s.scalars(select(facet).where(*of))).all())
    await s.execute(delete(BlockFacetRow).where(*of))
    await s.execute(delete(BlockRow).where(col(BlockRow.block).in_(blocks)))
    id = col(FacetRow.id)
    await s.execute(delete(FacetRow).where(id.in_(concerned), ~exists().where(facet == id)))


async def _edge(
    s: AsyncSession,
    zone: Sequence[ColumnElement[bool]],
    inside: Sequence[ColumnElement[bool]],
    *,
    descending: bool,
) -> int | None:
    """The lowest or the highest number inside, looked for in the blocks of a zone."""
    number = col(StoredRow.number)
    best = func.max(number) if descending else func.min(number)
    async for block in _blocks(s, zone, descending=descending):
        of = number.between(block * SIZE, block * SIZE + SIZE - 1)
        found = (await s.execute(select(best).where(of, *inside))).scalar()
        if found is not None:
            return int(found)
    return None


async def _blocks(
    s: AsyncSession, zone: Sequence[ColumnElement[bool]], *, descending: bool
) -> AsyncIterator[int]:
    block = col(BlockRow.block)
    last: int | None = None
    while True:
        query = select(block).where(*zone).order_by(block.desc() if descending else block)
        if last is not None:
            query = query.where(block < last if descending else block > last)
        some = (await s.scalars(query.limit(_FIRST))).all()
        for last in some:
            yield last
        if len(some) < _FIRST:
            return


def _steps(low: int, high: int, *, descending: bool) -> Iterator[tuple[int, int]]:
    """Ranges of blocks from one end to the other, each wider than the one before."""
    width = _FIRST
    while low <= high:
        if descending:
            yield max(high - width + 1, low), high
            high -= width
        else:
            yield low, min(low + width - 1, high)
            low += width
        width *= _WIDER


async def _write(s: AsyncSession, zones: dict[int, tuple[int, int]]) -> None:
    rows = [
        {"block": block, "least_at_us": least, "most_at_us": most}
        for block, (least, most) in zones.items()
    ]
    await upsert(s, BlockRow, rows, key=("block",))
