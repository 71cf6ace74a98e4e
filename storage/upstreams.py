"""Upstreams: OpenAI-compatible servers that answer for releases, such as vLLM or another Paddock.

A record holds the address of a server, its limits and its timeouts. Its API key is not here:
`secret` refers to a file that only the node's user can read (`storage.home.secrets`). Whether a
server answers is in `upstream_health`. Opens no connection. Read by every package, written by
`engine.control`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, names, upstream_health, upstream_urls

MAX_CONNECTIONS: Final = 64
CONNECT_US: Final = 5_000_000
FIRST_EVENT_US: Final = 60_000_000
READ_US: Final = 30_000_000
HEALTH_PATH: Final = "models"

_CONNECTIONS_LIMIT: Final = 4096
_TIMEOUT_LIMIT_US: Final = 3600 * 1_000_000
_PATH: Final = re.compile(r"/?[A-Za-z0-9._~!$&'()*+,;=:@%/-]{1,512}")


class UpstreamRow(SQLModel, table=True):
    """An upstream as it is kept."""

    __tablename__: ClassVar[str] = "upstreams"

    name: str = Field(primary_key=True)
    url: str
    secret: str | None
    max_connections: int
    connect_timeout_us: int
    first_event_timeout_us: int
    read_timeout_us: int
    health_path: str
    metrics_path: str | None
    extensions: bool
    scores: bool | None
    created_at_us: int
    created_by: str


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    `url` is its API's base address, as OpenAI's clients take it (`http://127.0.0.1:8080/v1`).
    `first_event_timeout_us` bounds the wait for the first token, `read_timeout_us` the silence
    after it. `health_path` and `metrics_path` are relative to `url`, or absolute on its host.
    `extensions` says that it takes what OpenAI's API does not have: `top_k`, `min_p`. `scores` is
    whether it can score a continuation; None leaves that to be probed.
    """

    name: str
    url: str
    secret: str | None
    max_connections: int
    connect_timeout_us: int
    first_event_timeout_us: int
    read_timeout_us: int
    health_path: str
    metrics_path: str | None
    extensions: bool
    scores: bool | None
    created_at_us: int
    created_by: str


def address(upstream: Upstream, path: str) -> str:
    """Where a path of the server is: below the API's base, or on its host when it begins with /."""
    if not path.startswith("/"):
        return f"{upstream.url}/{path}"
    parts = urlsplit(upstream.url)
    return f"{parts.scheme}://{parts.netloc}{path}"


async def add(
    s: AsyncSession,
    *,
    name: str,
    url: str,
    secret: str | None = None,
    max_connections: int = MAX_CONNECTIONS,
    connect_timeout_us: int = CONNECT_US,
    first_event_timeout_us: int = FIRST_EVENT_US,
    read_timeout_us: int = READ_US,
    health_path: str = HEALTH_PATH,
    metrics_path: str | None = None,
    extensions: bool = True,
    scores: bool | None = None,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Upstream:
    """Register a server.

    Raises:
        AlreadyExists: the name is taken.
        Invalid: the url, a path or a bound is not allowed.
    """
    names.check("upstream", name)
    if (taken := await s.get(UpstreamRow, name)) is not None:
        raise errors.AlreadyExists(
            f"There is an upstream {name} at {taken.url}; choose another name, or remove it first."
        )
    _check_range("max_connections", max_connections, _CONNECTIONS_LIMIT)
    for field, value in (
        ("connect timeout", connect_timeout_us),
        ("first-event timeout", first_event_timeout_us),
        ("read timeout", read_timeout_us),
    ):
        _check_range(f"{field} in microseconds", value, _TIMEOUT_LIMIT_US)
    for field, path in (("health path", health_path), ("metrics path", metrics_path)):
        if path is not None and not _PATH.fullmatch(path):
            raise errors.Invalid(f"{path[:80]!r} cannot be the {field} of an upstream.")
    row = UpstreamRow(
        name=name,
        url=upstream_urls.normalised(url),
        secret=secret,
        max_connections=max_connections,
        connect_timeout_us=connect_timeout_us,
        first_event_timeout_us=first_event_timeout_us,
        read_timeout_us=read_timeout_us,
        health_path=health_path,
        metrics_path=metrics_path,
        extensions=extensions,
        scores=scores,
        created_at_us=at_us,
        created_by=actor,
    )
    s.add(row)
    await s.flush()
    created = _upstream(row)
    await ledger.write(
        s, actor=actor, verb="upstreams.add", noun="upstream", key=name,
        before=None, after=_public(created), at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return created


async def rekey(
    s: AsyncSession,
    name: str,
    secret: str | None,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Upstream:
    """Use another API key, or none; requests under way keep the old one.

    Raises:
        NotFound: there is no such upstream.
    """
    before = await find(s, name)
    row = await s.get_one(UpstreamRow, name)
    row.secret = secret
    await s.flush()
    after = _upstream(row)
    await ledger.write(
        s, actor=actor, verb="upstreams.rekey", noun="upstream", key=name,
        before=_public(before), after=_public(after), at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return after


async def remove(
    s: AsyncSession, name: str, *, actor: str, at_us: int, intent_id: int | None = None
) -> Upstream:
    """Forget a server; what it was. Whether a release still needs it is for the caller to check."""
    removed = await find(s, name)
    await s.delete(await s.get_one(UpstreamRow, name))
    await upstream_health.forget(s, name)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="upstreams.remove", noun="upstream", key=name,
        before=_public(removed), after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return removed


async def find(s: AsyncSession, name: str) -> Upstream:
    """By its name.

    Raises:
        NotFound: there is none; the message lists those there are.
    """
    row = await s.get(UpstreamRow, name)
    if row is None:
        raise errors.unknown("upstream", name, [each.name for each in await every(s)])
    return _upstream(row)


async def every(s: AsyncSession) -> list[Upstream]:
    """All upstreams by name."""
    query = select(UpstreamRow).order_by(col(UpstreamRow.name))
    return [_upstream(row) for row in await s.scalars(query)]


def _check_range(what: str, value: int, limit: int) -> None:
    if not 1 <= value <= limit:
        raise errors.Invalid(f"The {what} of an upstream is 1 to {limit}, not {value}.")


def _public(upstream: Upstream) -> dict[str, object]:
    """For the ledger: whether there is a key, not where."""
    public: dict[str, object] = msgspec.to_builtins(upstream)
    public["has_key"] = public.pop("secret") is not None
    return public


def _upstream(row: UpstreamRow) -> Upstream:
    return msgspec.convert(row, Upstream, from_attributes=True)
