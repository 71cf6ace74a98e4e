"""Releases: the immutable tuple that answers a request, identified by the hash of its content.

What computes the tokens (a local engine, an upstream or a supervised server), a model version, a
prompt version, sampling defaults and limits. The deployment that must be loaded for a release
follows from them. Read by every package, written by `engine.control`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import (
    deployments,
    errors,
    ledger,
    models,
    prompts,
    release_content,
    release_rows,
)
from storage.deployments import Backend
from storage.models import Kind, ModelVersion
from storage.prompts import PromptVersion
from storage.release_content import Content, Engine, Limits, Sampling, Server, Upstream
from storage.release_rows import (
    Release,
    ReleaseRow,
    check,
    every,
    files,
    find,
    get,
    newest,
    upstreams,
)

__all__ = [
    "Backend", "Engine", "Limits", "Release", "ReleaseRow", "Sampling", "Server", "Upstream",
    "check", "every", "files", "find", "get", "newest", "upstreams",
]  # fmt: skip

_ADAPTER: Final = 16


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
    created = release_rows.record(row)
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
    return None if row is None else release_rows.record(row)


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


def _version(version: ModelVersion | PromptVersion | None) -> tuple[str, str] | None:
    return None if version is None else (version.name, version.sha256)


def _stored(settings: msgspec.Struct | None) -> str | None:
    return None if settings is None else release_content.stored(settings)
