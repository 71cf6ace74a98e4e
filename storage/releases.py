"""Releases: the immutable tuple that answers a request, identified by the hash of its content.

What computes the tokens (a local engine, an upstream or a supervised server), a model version, a
prompt version, sampling defaults and limits. The deployment that must be loaded for a release
follows from them. Read by everybody, written by `engine.control`.
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
    ledger,
    models,
    prompts,
    release_content,
    unknown_names,
)
from storage.deployments import Backend
from storage.models import Kind, ModelVersion
from storage.prompts import PromptVersion
from storage.release_content import Content, Engine, Limits, Sampling, Server, Upstream
from storage.store import stream

__all__ = ["Backend", "Engine", "Limits", "Release", "Sampling", "Server", "Upstream"]

_ADAPTER: Final = 16
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


async def create(
    s: AsyncSession,
    *,
    model_version: ModelVersion | None,
    base: ModelVersion | None = None,
    prompt_version: PromptVersion | None,
    sampling: Sampling,
    limits: Limits,
    engine: Engine | None = None,
    upstream: Upstream | None = None,
    server: Server | None = None,
    comment: str,
    actor: str,
    at_us: int,
    follows: str | None = None,
    intent_id: int | None = None,
) -> Release:
    """The release with this content: a new one, or the one that has it already.

    Raises:
        Invalid: a setting is out of range, the settings are not of exactly one backend, or the
            model version does not fit the backend or its base.
    """
    content = content_of(
        model_version=model_version,
        base=base,
        prompt_version=prompt_version,
        sampling=sampling,
        limits=limits,
        engine=engine,
        upstream=upstream,
        server=server,
        follows=follows,
    )
    if (same := await with_content(s, content)) is not None:
        return same
    settings = _only(content.engine, content.upstream, content.server)
    deployment = await deployments.of_release(
        s, weights=base or model_version, settings=settings, at_us=at_us
    )
    adapter = model_version is not None and model_version.kind is Kind.ADAPTER
    row = ReleaseRow(
        sha256=release_content.sha256(content),
        content_schema=release_content.SCHEMA,
        model_version_id=None if model_version is None else model_version.id,
        prompt_version_id=None if prompt_version is None else prompt_version.id,
        sampling=release_content.stored(content.sampling),
        limits=release_content.stored(content.limits),
        engine=_stored(content.engine),
        upstream=_stored(content.upstream),
        server=_stored(content.server),
        deployment=deployment.name,
        adapter=model_version.sha256[:_ADAPTER] if model_version and adapter else "",
        created_at_us=at_us,
        created_by=actor,
        comment=comment,
        follows=follows,
    )
    s.add(row)
    await s.flush()
    created = _release(row)
    await ledger.write(
        s, actor=actor, verb="releases.create", noun="release", key=created.name,
        before=None, after=created, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return created


def content_of(
    *,
    model_version: ModelVersion | None,
    base: ModelVersion | None,
    prompt_version: PromptVersion | None,
    sampling: Sampling,
    limits: Limits,
    engine: Engine | None,
    upstream: Upstream | None,
    server: Server | None,
    follows: str | None,
) -> Content:
    """What a release of these versions and settings is made of.

    Raises:
        Invalid: as for `create`.
    """
    _check_model(model_version, base, _only(engine, upstream, server))
    return Content(
        model=_version(model_version),
        base=_version(base),
        prompt=_version(prompt_version),
        follows=follows,
        sampling=release_content.checked(sampling),
        limits=release_content.checked(limits),
        engine=None if engine is None else release_content.checked(engine),
        upstream=None if upstream is None else release_content.checked(upstream),
        server=None if server is None else release_content.checked(server),
    )


async def with_content(s: AsyncSession, content: Content) -> Release | None:
    """The release that has this content, if there is one."""
    hashes = [release_content.sha256(content), release_content.sha256_schema_1(content)]
    query = select(ReleaseRow).where(col(ReleaseRow.sha256).in_(hashes))
    row = (await s.scalars(query)).first()
    return None if row is None else _release(row)


async def content(s: AsyncSession, release: Release) -> Content:
    """What a release is made of."""
    model = base = prompt = None
    if release.model_version_id is not None:
        model = await models.get(s, release.model_version_id)
        base = None if model.base_id is None else await models.get(s, model.base_id)
    if release.prompt_version_id is not None:
        prompt = await prompts.get(s, release.prompt_version_id)
    return content_of(
        model_version=model,
        base=base,
        prompt_version=prompt,
        sampling=release.sampling,
        limits=release.limits,
        engine=release.engine,
        upstream=release.upstream,
        server=release.server,
        follows=release.follows,
    )


def _only(
    engine: Engine | None, upstream: Upstream | None, server: Server | None
) -> Engine | Upstream | Server:
    given = [settings for settings in (engine, upstream, server) if settings is not None]
    if len(given) != 1:
        raise errors.Invalid(
            "A release has the settings of exactly one backend: engine, upstream or server."
        )
    return given[0]


def _check_model(
    model_version: ModelVersion | None,
    base: ModelVersion | None,
    settings: Engine | Upstream | Server,
) -> None:
    if model_version is None:
        if base is not None or isinstance(settings, Engine):
            raise errors.Invalid("A local release needs a model version.")
        if isinstance(settings, Server) and "weights" in settings.placeholders():
            raise errors.Invalid("The server's command has {weights}, so name a model version.")
        return
    if isinstance(settings, Upstream):
        raise errors.Invalid("An upstream has its own models: name one by upstream.model alone.")
    if model_version.base_id != (None if base is None else base.id):
        raise errors.Invalid(f"{model_version.name} and its base do not belong together.")
    if isinstance(settings, Server) and model_version.kind is Kind.ADAPTER:
        raise errors.Invalid(
            f"{model_version.name} is an adapter; a supervised server loads weights."
        )


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
    return _release(row)


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
        release = _release(row)
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
    return [_release(row) async for (row,) in stream(s, query)]


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


def _version(version: ModelVersion | PromptVersion | None) -> tuple[str, str] | None:
    return None if version is None else (version.name, version.sha256)


def _stored(settings: msgspec.Struct | None) -> str | None:
    return None if settings is None else release_content.stored(settings)


def _release(row: ReleaseRow) -> Release:
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
