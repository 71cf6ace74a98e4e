"""Upstreams: OpenAI-compatible servers that answer for releases, such as vLLM or another Paddock.

A record holds the address of a server, its limits and its timeouts. Its API key is not here:
`secret` refers to a file that only the node's user can read (`storage.home.secrets`). Opens no
connection. Read by everybody, written by `engine.control`; readiness is written by the gateway.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, names

MAX_CONNECTIONS: Final = 64
CONNECT_US: Final = 5_000_000
FIRST_EVENT_US: Final = 60_000_000
READ_US: Final = 30_000_000
HEALTH_PATH: Final = "models"

_URL_LIMIT: Final = 2048
_CONNECTIONS_LIMIT: Final = 4096
_TIMEOUT_LIMIT_US: Final = 3600 * 1_000_000
_PATH: Final = re.compile(r"/?[A-Za-z0-9._~!$&'()*+,;=:@%/-]{1,512}")
_NOT_IN_A_URL: Final = re.compile(r"[\s\x00-\x20\x7f-\U0010ffff]")


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


class HealthRow(SQLModel, table=True):
    """Whether an upstream answers, as it is kept."""

    __tablename__: ClassVar[str] = "upstream_health"

    name: str = Field(primary_key=True)
    reason: str | None
    since_us: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an upstream answers since a time: `reason` is why it does not, None while it does."""

    reason: str | None
    since_us: int


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


def normalised(url: str) -> str:
    """The base address of an API, ready to have paths appended; `/v1` where none is given.

    Raises:
        Invalid: it is not the address of an HTTP server; the message says why.
    """
    parts = _split(url.strip())
    if parts.scheme.lower() not in {"http", "https"}:
        raise _bad("its scheme is neither http nor https")
    if not parts.hostname:
        raise _bad("it names no host")
    if parts.username is not None or parts.password is not None:
        raise _bad("it holds a user or a password; give the key with --key-file instead")
    if parts.query or parts.fragment:
        raise _bad("it has a query or a fragment; give a key with --key-file instead")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme.lower()}://{parts.netloc}{path}"


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
        url=normalised(url),
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
    if (observed := await s.get(HealthRow, name)) is not None:
        await s.delete(observed)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="upstreams.remove", noun="upstream", key=name,
        before=_public(removed), after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return removed


async def observe(s: AsyncSession, name: str, reason: str | None, at_us: int) -> None:
    """Record that an upstream answers from now on, or that it does not, and why.

    Written by the gateway, which finds out; a measurement, not a change that the ledger tells.
    """
    row = await s.get(HealthRow, name)
    if row is None:
        s.add(HealthRow(name=name, reason=reason, since_us=at_us))
    else:
        row.reason, row.since_us = reason, at_us
    await s.flush()


async def health(s: AsyncSession) -> dict[str, Health]:
    """Whether upstreams answer, by name, as the gateway found it last."""
    rows = await s.scalars(select(HealthRow))
    return {row.name: Health(reason=row.reason, since_us=row.since_us) for row in rows}


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


def _split(url: str) -> SplitResult:
    if len(url) > _URL_LIMIT:
        raise errors.Invalid(f"The url of an upstream has at most {_URL_LIMIT} characters.")
    if not url or _NOT_IN_A_URL.search(url):
        raise _bad("it is empty, or holds spaces or other than ASCII characters")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise _bad(str(error)) from error
    return parts


def _bad(why: str) -> errors.Invalid:
    """Does not repeat the url: it may hold a key."""
    return errors.Invalid(
        f"The url of the upstream cannot be used: {why}. "
        "Give the base address of its API, as in http://127.0.0.1:8000/v1."
    )


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
