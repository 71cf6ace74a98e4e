"""Requests that ended: one row each, however they ended.

Rows are numbered in the order of recording, at the end of a request, and found by number: newest
first means last recorded first. How they are stored is in `storage.request_rows`. Written by the
gateway, read by every package.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import (
    errors,
    feedback,
    request_blocks,
    request_records,
    request_rows,
    request_writes,
    texts,
)
from storage.feedback import Feedback
from storage.request_records import Class, Outcome, Request
from storage.request_rows import Beginning, FacetRow, RequestRow, StoredRow
from storage.store import at_once
from storage.texts import Text

__all__ = [
    "Class", "Feedback", "Outcome", "Request", "RequestRow", "Text", "feedback_of", "find", "prune",
    "record", "tail", "text_of",
]  # fmt: skip

_BEGINNING: Final = len("req_") + 4  # fewer characters name none
_ANSWER_IDS: Final = ("chatcmpl-", "cmpl-", "msg_", "resp_")
UNNAMED: Final = "-"
"""The unit of a request whose client named neither a user nor a session, outside A/B tests."""
LOST: Final = "worker_lost"
"""The error code of a request whose worker died."""
FILTER_DEPTH: Final = 100_000  # rows looked through for a text, so that no screen ever waits
_LONGEST_US: Final = 3_600 * 1_000_000
_EVER_US: Final = 2**62
_MOST_RELEASE: Final = 2**63 - 1


async def record(s: AsyncSession, rows: Iterable[Request]) -> list[Request]:
    """Store requests that have ended, in the order given; an id is stored once.

    Returns those that were not stored before, each once.
    """
    found = {request_rows.stored(request.id): request for request in rows}
    values = [
        (request_records.facet(request), (key, *request_records.own(request)))
        for key, request in found.items()
    ]
    new = await at_once(s, lambda cursor: request_writes.insert(cursor, values))
    return [request for key, request in found.items() if key in new]


async def tail(
    s: AsyncSession,
    limit: int = 100,
    before_id: str | None = None,
    service: str | None = None,
    outcome: Outcome | None = None,
    text_filter: str | None = None,
    until_us: int | None = None,
) -> list[Request]:
    """The last recorded requests, newest first; with `before_id` those recorded before that one.

    With `until_us` those that had ended at that moment.

    `text_filter` keeps rows that contain the text (id, service, worker, tenant, endpoint, reasons,
    or a release as r14) and looks through the newest 100,000 rows only.

    Raises:
        NotFound: there is no request `before_id`.
    """
    where: list[ColumnElement[bool]] = []
    if until_us is not None:
        before = await request_blocks.following(s, until_us)
        where.append(col(RequestRow.at_us) + col(RequestRow.latency_us) <= until_us)
    elif before_id is not None:
        before = await _number(s, before_id)
    else:
        before = await last(s) + 1
    lowest = 0
    if text_filter:
        lowest = max(before - FILTER_DEPTH, 0)
        where.append(_contains(text_filter))
    if service is not None or outcome is not None:
        found = await request_blocks.read(
            s, _of(service=service, outcome=outcome), lowest, before - 1, limit, descending=True,
            where=where,
        )  # fmt: skip
        return [request_records.read(row) for row in found]
    number = col(RequestRow.number)
    query = select(RequestRow).where(number.between(lowest, before - 1), *where)
    rows = await s.scalars(query.order_by(number.desc()).limit(limit))
    return [request_records.read(row) for row in rows]


async def lost_on(
    s: AsyncSession, deployment: str, since_us: int, limit: int = 3
) -> list[tuple[str, int | None]]:
    """The last requests that a deployment's workers died of, or with: ids and releases.

    `since_us` bounds their arrival. Newest first.
    """

    def lost(row: type[RequestRow | FacetRow]) -> list[ColumnElement[bool]]:
        of = col(row.worker) == deployment
        copy = col(row.worker).startswith(f"{deployment}:", autoescape=True)
        failed = col(row.outcome) == Outcome.FAILED.value
        return [failed, col(row.error_code) == LOST, or_(of, copy)]

    low, high = await request_blocks.numbers(s, since_us, _EVER_US)
    arrived = [col(RequestRow.at_us) >= since_us]
    rows = await request_blocks.read(s, lost, low, high, limit, descending=True, where=arrived)
    return [(row.id, row.release) for row in rows]


async def last(s: AsyncSession) -> int:
    """The number of the newest request that was recorded, 0 before the first."""
    return (await s.execute(select(func.max(StoredRow.number)))).scalar() or 0


async def numbers(s: AsyncSession, begin_us: int, end_us: int) -> tuple[int, int]:
    """The lowest and the highest number of the requests that arrived in a range; (1, 0): none."""
    return await request_blocks.numbers(s, begin_us, end_us)


async def after(
    s: AsyncSession, number: int, until: int, limit: int = 500,
    service: str | None = None, outcome: Outcome | None = None,
) -> list[tuple[int, Request]]:  # fmt: skip
    """The first `limit` requests after a number, up to another, with theirs; oldest first."""
    of = _of(service=service, outcome=outcome)
    rows = await request_blocks.read(s, of, number + 1, until, limit)
    return [(row.number or 0, request_records.read(row)) for row in rows]


async def ended(
    s: AsyncSession,
    begin_us: int,
    end_us: int,
    *,
    service: str | None = None,
    release: int | None = None,
    tenant: str | None = None,
    worker: str | None = None,
) -> AsyncIterator[Request]:
    """Requests that ended from one moment up to, not including, another; in no order.

    Found by their arrival, so a request that took more than an hour is not among them.
    """
    arrived = col(RequestRow.at_us)
    low, high = await request_blocks.numbers(s, begin_us - _LONGEST_US, end_us + 1)
    of = _of(service=service, release=release, tenant=tenant, worker=worker)
    query = select(RequestRow).where(
        col(RequestRow.number).between(low, high),
        arrived.between(begin_us - _LONGEST_US, end_us),
        arrived + col(RequestRow.latency_us) >= begin_us,
        arrived + col(RequestRow.latency_us) < end_us,
        *of(RequestRow),
    )
    async for row in await s.stream_scalars(query):
        yield request_records.read(row)


def canonical(id: str) -> str:
    """The id under which a request is stored, of any id that an answer carried.

    An answer to `req_abc` is called `chatcmpl-abc`, `cmpl-abc`, `msg_abc` or `resp_abc` in its
    body.
    """
    prefix = next((each for each in _ANSWER_IDS if id.startswith(each)), "")
    return f"req_{id.removeprefix(prefix)}" if prefix else id


async def find(s: AsyncSession, id: str) -> Request:
    """By any id that the box gave out for it.

    Raises:
        NotFound: there is no such request, or it has been deleted.
    """
    wanted = canonical(id)
    row = (await s.scalars(select(RequestRow).where(col(RequestRow.id) == wanted))).first()
    if row is None:
        raise errors.NotFound(
            f"There is no request {id}; requests are recorded when they end, at most a second "
            "late, and kept as config.toml says."
        )
    return request_records.read(row)


async def beginning(s: AsyncSession, typed: str) -> Request:
    """By an id, or by the beginning of one, with or without its `req_`.

    Raises:
        NotFound: there is no such request, or it has been deleted.
        Invalid: several begin so.
    """
    wanted = f"req_{canonical(typed).removeprefix('req_')}"
    found = await _beginning(s, wanted) if len(wanted) >= _BEGINNING else []
    if wanted in found:
        return await find(s, wanted)
    if not found:
        return await find(s, typed)
    if len(found) > 1:
        raise errors.Invalid(f"Several requests begin with {typed}; give more of the id.")
    return await find(s, found[0])


async def _beginning(s: AsyncSession, wanted: str) -> list[str]:
    """Ids that begin so: itself if there is one, and at most two of each kind."""
    id = col(StoredRow.id)
    after = wanted[:-1] + chr(ord(wanted[-1]) + 1)
    ranges: list[tuple[Any, Any]] = [(literal(wanted), literal(after))]
    if (bounds := request_rows.beginning(wanted)) is not None:
        first, end = bounds
        ranges.append(
            (literal(first, Beginning()), None if end is None else literal(end, Beginning()))
        )
    found: list[str] = list(await s.scalars(select(id).where(id == wanted)))
    for begin, end in ranges:
        query = select(id).where(id >= begin).order_by(id).limit(2)
        found += await s.scalars(query if end is None else query.where(id < end))
    return found


async def feedback_of(s: AsyncSession, id: str) -> list[Feedback]:
    """What clients said of the answer, oldest first; by any id that the box gave out."""
    return await feedback.of(s, canonical(id))


async def text_of(s: AsyncSession, id: str) -> Text | None:
    """The text of a request, None when it is not stored; by any id that the box gave out."""
    return await texts.of(s, canonical(id))


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete at most `limit` requests older than a moment, and as many texts and feedback rows.

    Returns the number of rows. Call it until it is 0; each call is short, so that no write waits
    for long.
    """
    gone = await request_blocks.prune(s, before_us, limit)
    beside = await texts.prune(s, before_us, limit) + await feedback.prune(s, before_us, limit)
    return gone + beside


def _of(**wanted: object) -> request_blocks.Conditions:
    """Requests whose columns have these values; None allows any."""

    def conditions(row: type[RequestRow | FacetRow]) -> list[ColumnElement[bool]]:
        return [col(getattr(row, name)) == value for name, value in wanted.items()
                if value is not None]  # fmt: skip

    return conditions


async def _number(s: AsyncSession, id: str) -> int:
    query = select(col(StoredRow.number)).where(col(StoredRow.id) == canonical(id))
    number = (await s.execute(query)).scalar()
    if number is None:
        raise errors.NotFound(f"There is no request {id} any more; begin at the newest.")
    return number


def _contains(wanted: str) -> ColumnElement[bool]:
    columns = (
        FacetRow.service,
        FacetRow.worker,
        FacetRow.tenant,
        FacetRow.endpoint,
        FacetRow.outcome,
        FacetRow.class_,
        FacetRow.finish_reason,
        FacetRow.error_code,
    )
    hits = [col(each).contains(wanted, autoescape=True) for each in columns]
    if wanted[:1] == "r" and wanted[1:].isascii() and wanted[1:].isdecimal() and int(wanted[1:20]):
        hits.append(col(FacetRow.release) == min(int(wanted[1:20]), _MOST_RELEASE))
    facets = select(col(FacetRow.id)).where(or_(*hits))
    id = col(RequestRow.text_id).contains(wanted, autoescape=True)
    return or_(col(RequestRow.facet).in_(facets), id)
