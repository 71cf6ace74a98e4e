"""Requests that ended: one row each, however they ended.

Rows are numbered in the order of recording, at the end of a request, and found by number: newest
first means last recorded first. Written by the gateway, read by every package.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import ColumnElement, Select, delete, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, feedback, texts
from storage.feedback import Feedback
from storage.store import insert_new
from storage.texts import Text

__all__ = [
    "Class", "Feedback", "Outcome", "Request", "Text", "feedback_of", "find", "prune", "record",
    "tail", "text_of",
]  # fmt: skip

_BEGINNING: Final = len("req_") + 4  # fewer characters name none
_ANSWER_IDS: Final = ("chatcmpl-", "cmpl-", "msg_", "resp_")
UNNAMED: Final = "-"
"""The unit of a request whose client named neither a user nor a session, outside A/B tests."""
LOST: Final = "worker_lost"
"""The error code of a request whose worker died."""
FILTER_DEPTH: Final = 100_000  # rows looked through for a text, so that no screen ever waits
_LONGEST_US: Final = 3_600 * 1_000_000
_SEED_SPACE: Final = 2**64
_SEED_HALF: Final = 2**63


class Outcome(StrEnum):
    """How a request ended.

    Malformed bodies and unknown keys are not recorded; `GatewaySample.rejected` counts them.
    """

    OK = "ok"
    CANCELLED = "cancelled"  # the client went away
    INVALID = "invalid"  # 400, whichever release was asked
    REFUSED = "refused"  # 429 or 503 by the admission of an instance that serves
    FAILED = "failed"  # the release, the worker or the engine; also, that no worker was there


class Class(StrEnum):
    """Who waits for whom; the first is served first."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    BACKGROUND = "background"


class RequestRow(SQLModel, table=True):
    """A request as it is stored; `number` is the order of recording."""

    __tablename__: ClassVar[str] = "requests"

    number: int | None = Field(default=None, primary_key=True)
    id: str
    at_us: int
    service: str
    release: int | None
    worker: str
    endpoint: str
    key_id: int
    tenant: str
    class_: str = Field(sa_column_kwargs={"name": "class"})
    synthetic: bool
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    ttft_us: int | None
    latency_us: int
    busy_us: int
    outcome: str
    finish_reason: str | None
    error_code: str | None
    seed: int | None
    ab_test: int | None = None
    unit: str | None = None
    cached_tokens: int = 0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `at_us` is its arrival, `busy_us` the worker's time that went into it.

    `seed` counts modulo 2^64, as the sampler takes it. `ab_test` is the test whose split chose the
    release, and `unit` a keyed hash of the user, session or request that it chose it for.
    `cached_tokens` are those prompt tokens that were in a cache already.
    """

    id: str
    at_us: int
    service: str
    release: int | None
    worker: str
    endpoint: str
    key_id: int
    tenant: str
    class_: Class = msgspec.field(default=Class.INTERACTIVE, name="class")
    synthetic: bool = False
    stream: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_us: int = 0
    ttft_us: int | None = None
    latency_us: int = 0
    busy_us: int = 0
    outcome: Outcome
    finish_reason: str | None = None
    error_code: str | None = None
    seed: int | None = None
    ab_test: int | None = None
    unit: str | None = None
    cached_tokens: int = 0


async def unknown(s: AsyncSession, rows: Iterable[Request]) -> list[Request]:
    """Those of some requests that are not stored yet, each once, in the order given."""
    found = {request.id: request for request in rows}
    query = select(col(RequestRow.id)).where(col(RequestRow.id).in_(list(found)))
    for id in (await s.execute(query)).scalars():
        del found[id]
    return list(found.values())


async def record(s: AsyncSession, rows: Iterable[Request]) -> None:
    """Store requests that have ended, in the order given; an id is stored once."""
    values = [_values(request) for request in rows]
    await insert_new(s, RequestRow, values, key=("id",))


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
    query = select(RequestRow).order_by(col(RequestRow.number).desc()).limit(limit)
    before = None if before_id is None else await _number(s, before_id)
    if until_us is not None:
        before = await _following(s, until_us)
        query = query.where(col(RequestRow.at_us) + col(RequestRow.latency_us) <= until_us)
    if before is not None:
        query = query.where(col(RequestRow.number) < before)
    query = _narrowed(query, service, outcome)
    if text_filter:
        newest = before or ((await s.execute(select(func.max(RequestRow.number)))).scalar() or 0)
        query = query.where(col(RequestRow.number) > newest - FILTER_DEPTH, _contains(text_filter))
    return await _requests(s, query)


async def _following(s: AsyncSession, until_us: int) -> int:
    """A number after those of all requests that arrived up to a moment."""
    arrived, number = col(RequestRow.at_us), col(RequestRow.number)
    recent = select(func.max(number)).where(arrived.between(until_us - _LONGEST_US, until_us))
    newest = (await s.execute(recent)).scalar()
    if newest is None:
        last = select(number).where(arrived <= until_us).order_by(arrived.desc()).limit(1)
        newest = (await s.execute(last)).scalar()
    return (newest or 0) + 1


async def lost_on(
    s: AsyncSession, deployment: str, since_us: int, limit: int = 3
) -> list[tuple[str, int | None]]:
    """The last requests that a deployment's workers died of, or with: ids and releases.

    `since_us` bounds their arrival. Newest first.
    """
    worker = col(RequestRow.worker)
    query = (
        select(col(RequestRow.id), col(RequestRow.release))
        .where(col(RequestRow.outcome) == Outcome.FAILED.value)
        .where(col(RequestRow.error_code) == LOST, col(RequestRow.at_us) >= since_us)
        .where((worker == deployment) | worker.startswith(f"{deployment}:", autoescape=True))
        .order_by(col(RequestRow.number).desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in await s.execute(query)]


async def last(s: AsyncSession) -> int:
    """The number of the newest request that was recorded, 0 before the first."""
    return (await s.execute(select(func.max(RequestRow.number)))).scalar() or 0


async def numbers(s: AsyncSession, begin_us: int, end_us: int) -> tuple[int, int]:
    """The lowest and the highest number of the requests that arrived in a range; (1, 0): none."""
    number = col(RequestRow.number)
    query = select(func.min(number), func.max(number)).where(
        col(RequestRow.at_us) >= begin_us, col(RequestRow.at_us) < end_us
    )
    low, high = (await s.execute(query)).one()
    return (1, 0) if low is None or high is None else (low, high)


async def after(
    s: AsyncSession, number: int, until: int, limit: int = 500,
    service: str | None = None, outcome: Outcome | None = None,
) -> list[tuple[int, Request]]:  # fmt: skip
    """The first `limit` requests after a number, up to another, with theirs; oldest first."""
    query = select(RequestRow).where(col(RequestRow.number).between(number + 1, until))
    query = _narrowed(query.order_by(col(RequestRow.number)).limit(limit), service, outcome)
    rows = await s.scalars(query)
    return [(row.number or 0, _request(row)) for row in rows]


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
    query = select(RequestRow).where(
        arrived.between(begin_us - _LONGEST_US, end_us),
        arrived + col(RequestRow.latency_us) >= begin_us,
        arrived + col(RequestRow.latency_us) < end_us,
    )
    query = _narrowed(query, service, None)
    if release is not None:
        query = query.where(col(RequestRow.release) == release)
    if tenant is not None:
        query = query.where(col(RequestRow.tenant) == tenant)
    if worker is not None:
        query = query.where(col(RequestRow.worker) == worker)
    async for row in await s.stream_scalars(query):
        yield _request(row)


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
    found = await _requests(s, select(RequestRow).where(col(RequestRow.id) == wanted))
    if not found:
        raise errors.NotFound(
            f"There is no request {id}; requests are recorded when they end, at most a second "
            "late, and kept as config.toml says."
        )
    return found[0]


async def beginning(s: AsyncSession, typed: str) -> Request:
    """By an id, or by the beginning of one, with or without its `req_`.

    Raises:
        NotFound: there is no such request, or it has been deleted.
        Invalid: several begin so.
    """
    wanted = f"req_{canonical(typed).removeprefix('req_')}"
    query = select(RequestRow).where(col(RequestRow.id).startswith(wanted, autoescape=True))
    first = query.order_by(col(RequestRow.id)).limit(2)  # the id itself comes before longer ones
    found = await _requests(s, first) if len(wanted) >= _BEGINNING else []
    if len(found) > 1 and found[0].id != wanted:
        raise errors.Invalid(f"Several requests begin with {typed}; give more of the id.")
    return found[0] if found else await find(s, typed)


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
    old = select(col(RequestRow.number)).where(col(RequestRow.at_us) < before_us).limit(limit)
    gone = await s.execute(delete(RequestRow).where(col(RequestRow.number).in_(old)))
    beside = await texts.prune(s, before_us, limit) + await feedback.prune(s, before_us, limit)
    return int(gone.rowcount) + beside  # type: ignore[attr-defined]


def _narrowed(
    query: Select[RequestRow], service: str | None, outcome: Outcome | None
) -> Select[RequestRow]:
    if service is not None:
        query = query.where(col(RequestRow.service) == service)
    if outcome is not None:
        query = query.where(col(RequestRow.outcome) == outcome.value)
        if outcome is not Outcome.OK:  # said literally, it lets SQLite use the small index
            query = query.where(text("outcome <> 'ok'"))
    return query


async def _requests(s: AsyncSession, query: Select[RequestRow]) -> list[Request]:
    return [_request(row) for row in await s.scalars(query)]


async def _number(s: AsyncSession, id: str) -> int:
    query = select(col(RequestRow.number)).where(col(RequestRow.id) == canonical(id))
    number = (await s.execute(query)).scalar()
    if number is None:
        raise errors.NotFound(f"There is no request {id} any more; begin at the newest.")
    return number


def _contains(wanted: str) -> ColumnElement[bool]:
    columns = (
        RequestRow.id,
        RequestRow.service,
        RequestRow.worker,
        RequestRow.tenant,
        RequestRow.endpoint,
        RequestRow.outcome,
        RequestRow.class_,
        RequestRow.finish_reason,
        RequestRow.error_code,
    )
    hits = [col(each).contains(wanted, autoescape=True) for each in columns]
    if wanted[:1] == "r" and wanted[1:].isascii() and wanted[1:].isdecimal():
        hits.append(col(RequestRow.release) == min(int(wanted[1:20]), _SEED_HALF - 1))
    return or_(*hits)


def _values(request: Request) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.structs.asdict(request)
    values["class_"], values["outcome"] = request.class_.value, request.outcome.value
    if request.seed is not None:  # SQLite's integers are signed
        seed = request.seed % _SEED_SPACE
        values["seed"] = seed - _SEED_SPACE if seed >= _SEED_HALF else seed
    return values


def _request(row: RequestRow) -> Request:
    if row.seed is not None and row.seed < 0:
        return msgspec.structs.replace(
            msgspec.convert(row, Request, from_attributes=True), seed=row.seed + _SEED_SPACE
        )
    return msgspec.convert(row, Request, from_attributes=True)
