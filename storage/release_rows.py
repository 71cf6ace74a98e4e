"""The rows of releases, as records, and how they are found.

Imported by `storage.releases`, which adds to them, and through it by every package.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import (
    deployments,
    errors,
    release_content,
    unknown_names,
)
from storage.deployments import Backend
from storage.release_content import Engine, Limits, Sampling, Server, Upstream
from storage.store import stream

_PREFIX: Final = 6


class ReleaseRow(SQLModel, table=True):
    """A release as it is stored; its settings are JSON."""

    __tablename__: ClassVar[str] = "releases"

    number: int | None = Field(default=None, primary_key=True)
    sha256: str
    content_schema: int
    model_version_id: int | None
    prompt_version_id: int | None
    sampling: str
    limits: str
    engine: str | None
    upstream: str | None
    server: str | None
    deployment: str
    adapter: str
    created_at_us: int
    created_by: str
    comment: str
    follows: str | None = None


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One release.

    Exactly one of `engine`, `upstream` and `server` is given; `backend` says which. `adapter` is
    empty for weights, else the first 16 hex digits of the adapter's hash. A release on an upstream
    has no `model_version_id`; one on a supervised server has one if it loads a registered file.
    `follows` is a label of its prompt, as terse:production: each move of it makes the next release.
    """

    number: int
    sha256: str
    model_version_id: int | None
    prompt_version_id: int | None
    sampling: Sampling
    limits: Limits
    engine: Engine | None = None
    upstream: Upstream | None = None
    server: Server | None = None
    deployment: str
    adapter: str
    created_at_us: int
    created_by: str
    comment: str
    follows: str | None = None

    @property
    def name(self) -> str:
        """As people write it: r14."""
        return f"r{self.number}"

    @property
    def backend(self) -> Backend:
        """What computes its tokens."""
        return deployments.backend(self.settings)

    @property
    def settings(self) -> Engine | Upstream | Server:
        """The settings of its backend."""
        settings = self.engine or self.upstream or self.server
        assert settings is not None  # noqa: S101 `create` has checked it
        return settings


async def find(s: AsyncSession, name: str) -> Release:
    """By `r14`, or by at least six digits of its hash.

    Raises:
        NotFound: there is none, or several begin with these digits.
    """
    row = None
    if name[:1] == "r" and name[1:].isascii() and name[1:].isdecimal():
        row = await s.get(ReleaseRow, min(int(name[1:20]), 2**62))
    elif len(name) >= _PREFIX and name.isalnum():
        query = select(ReleaseRow).where(col(ReleaseRow.sha256).startswith(name, autoescape=True))
        rows = list(await s.scalars(query.limit(2)))
        if len(rows) > 1:
            raise errors.NotFound(f"Several releases begin with {name}; write more of the hash.")
        row = rows[0] if rows else None
    if row is None:
        known = select(col(ReleaseRow.number)).order_by(col(ReleaseRow.number))
        raise await unknown_names.refusal(s, "release", name, known, "r{}".format)
    return record(row)


async def get(s: AsyncSession, number: int) -> Release:
    """By its number."""
    return await find(s, f"r{number}")


async def check(s: AsyncSession, numbers: Collection[int]) -> None:
    """Check that there are releases with these numbers.

    Raises:
        NotFound: there is none with one of them.
    """
    query = select(col(ReleaseRow.number)).where(col(ReleaseRow.number).in_(numbers))
    for number in sorted(set(numbers) - set(await s.scalars(query))):
        await get(s, number)


async def upstreams(s: AsyncSession) -> dict[int, tuple[str, str]]:
    """The releases that upstreams answer for: by number, the upstream's name and its model."""
    found = {}
    for row in await s.scalars(select(ReleaseRow).where(col(ReleaseRow.upstream).is_not(None))):
        release = record(row)
        if release.upstream is not None:
            found[release.number] = release.upstream.name, release.upstream.model
    return found


async def every(
    s: AsyncSession,
    *,
    follows: str | None = None,
    after: int = 0,
    numbers: Collection[int] | None = None,
) -> list[Release]:
    """All releases, oldest first; or those of `numbers`, `after` one, or that follow a label."""
    query = select(ReleaseRow).where(col(ReleaseRow.number) > after)
    if follows is not None:
        query = query.where(col(ReleaseRow.follows) == follows)
    if numbers is not None:
        query = query.where(col(ReleaseRow.number).in_(numbers))
    query = query.order_by(col(ReleaseRow.number))
    return [record(row) async for (row,) in stream(s, query)]


async def newest(s: AsyncSession) -> int:
    """The highest number; 0 while there is no release."""
    return await s.scalar(select(func.max(col(ReleaseRow.number)))) or 0


async def files(s: AsyncSession, numbers: Collection[int]) -> set[tuple[str, int]]:
    """The model versions that these releases load, as (deployment, id of the version)."""
    query = select(col(ReleaseRow.deployment), col(ReleaseRow.model_version_id)).where(
        col(ReleaseRow.number).in_(numbers), col(ReleaseRow.model_version_id).is_not(None)
    )
    found = await s.execute(query.distinct())
    return {(deployment, version or 0) for deployment, version in found}


def record(row: ReleaseRow) -> Release:
    """The release of its row."""
    return Release(
        number=row.number or 0,
        sha256=row.sha256,
        model_version_id=row.model_version_id,
        prompt_version_id=row.prompt_version_id,
        sampling=release_content.loaded(row.sampling, Sampling),
        limits=release_content.loaded(row.limits, Limits),
        engine=None if row.engine is None else release_content.loaded(row.engine, Engine),
        upstream=None if row.upstream is None else release_content.loaded(row.upstream, Upstream),
        server=None if row.server is None else release_content.loaded(row.server, Server),
        deployment=row.deployment,
        adapter=row.adapter,
        created_at_us=row.created_at_us,
        created_by=row.created_by,
        comment=row.comment,
        follows=row.follows,
    )
