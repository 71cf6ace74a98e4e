"""Usage: what requests used, by quarter hour, arm, tenant, key and deployment.

Whole microseconds and tokens, no money: `storage.costs` prices them. Added in the transaction that
records the requests, so that each counts once, and kept longer than they are. Written by the
gateway, read by every package.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import samples
from storage.prices import QUARTER_S
from storage.requests import Request
from storage.store import accumulate

_QUARTER_US: Final = QUARTER_S * 1_000_000
_KEY: Final = ("quarter_s", "service", "release", "tenant", "key_id", "deployment")
_SUMS: Final = (
    "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "busy_us",
)  # fmt: skip


class UsageRow(SQLModel, table=True):
    """Usage as it is stored."""

    __tablename__: ClassVar[str] = "usage"

    quarter_s: int = Field(primary_key=True)
    service: str = Field(primary_key=True)
    release: int = Field(primary_key=True)
    tenant: str = Field(primary_key=True)
    key_id: int = Field(primary_key=True)
    deployment: str = Field(primary_key=True)
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    busy_us: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What requests that ended in the quarter hour from `quarter_s` on used.

    `release` is 0 for requests that no release had. `busy_us` is the computing time of local
    workers; `cached_tokens` are those of the prompt tokens that were in a cache already.
    """

    quarter_s: int
    service: str
    release: int
    tenant: str
    key_id: int
    deployment: str
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    busy_us: int = 0


def of(request: Request) -> Usage:
    """The usage of one request."""
    return Usage(
        quarter_s=_quarter(request),
        service=request.service,
        release=request.release or 0,
        tenant=request.tenant,
        key_id=request.key_id,
        deployment=samples.deployment(request.worker),
        requests=1,
        prompt_tokens=request.prompt_tokens,
        cached_tokens=min(request.cached_tokens, request.prompt_tokens),
        completion_tokens=request.completion_tokens,
        busy_us=request.busy_us,
    )


def key(used: Usage) -> tuple[object, ...]:
    """What tells a row of usage from others."""
    return tuple(getattr(used, name) for name in _KEY)


async def record(s: AsyncSession, ended: Iterable[Request]) -> None:
    """Add the usage of requests that were not recorded before."""
    sums: dict[tuple[object, ...], list[int]] = {}
    for used in map(of, ended):
        row = sums.setdefault(key(used), [0] * len(_SUMS))
        for at, name in enumerate(_SUMS):
            row[at] += getattr(used, name)
    rows = [dict(zip((*_KEY, *_SUMS), (*of_, *row), strict=True)) for of_, row in sums.items()]
    await accumulate(s, UsageRow, rows, key=_KEY)


async def between(
    s: AsyncSession,
    begin_s: int,
    end_s: int,
    *,
    service: str | None = None,
    tenant: str | None = None,
    key_id: int | None = None,
) -> list[Usage]:
    """The usage of the quarter hours that begin in a range, `end_s` excluded, in their order."""
    names = (*_KEY, *_SUMS)
    query = (
        select(*(col(getattr(UsageRow, name)) for name in names))  # months of rows, not of objects
        .where(col(UsageRow.quarter_s) >= begin_s, col(UsageRow.quarter_s) < end_s)
        .order_by(*(col(getattr(UsageRow, name)) for name in _KEY))
    )
    scope = {"service": service, "tenant": tenant, "key_id": key_id}
    for name, wanted in scope.items():
        if wanted is not None:
            query = query.where(col(getattr(UsageRow, name)) == wanted)
    return [Usage(**dict(zip(names, row, strict=True))) for row in await s.execute(query)]


async def prune(s: AsyncSession, before_s: int, limit: int = 96) -> int:
    """Delete the usage of at most `limit` quarter hours before a moment; returns how many rows."""
    first = (await s.execute(select(func.min(col(UsageRow.quarter_s))))).scalar()
    if first is None or first >= before_s:
        return 0
    until = min(before_s, first + limit * QUARTER_S)
    gone = await s.execute(delete(UsageRow).where(col(UsageRow.quarter_s) < until))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def _quarter(request: Request) -> int:
    """The quarter hour in which it ended."""
    return (request.at_us + request.latency_us) // _QUARTER_US * QUARTER_S
