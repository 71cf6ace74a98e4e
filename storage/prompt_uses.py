"""Where prompt versions are used: the releases that name them, and the services that serve those.

Reads only. Imported by `engine.control` and `app`.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import services
from storage.prompt_rows import PromptRow
from storage.releases import ReleaseRow


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """A release that names a version of a prompt.

    `follows` is the label that it follows, as `terse:production`; `serves` are the weights in
    basis points by service, of the splits that name the release.
    """

    release: int
    number: int
    follows: str | None
    serves: dict[str, int]


async def of(s: AsyncSession, prompt: str, number: int | None = None) -> list[Use]:
    """The uses of a prompt, or of one version of it, newest release first."""
    query = (
        select(col(ReleaseRow.number), col(PromptRow.number), col(ReleaseRow.follows))
        .join(PromptRow, col(PromptRow.id) == col(ReleaseRow.prompt_version_id))
        .where(col(PromptRow.prompt) == prompt)
        .order_by(col(ReleaseRow.number).desc())
    )
    if number is not None:
        query = query.where(col(PromptRow.number) == number)
    found = (await s.execute(query)).all()
    if not found:
        return []
    serves: dict[int, dict[str, int]] = {}
    for service in await services.every(s):
        for arm in service.split.arms:
            serves.setdefault(arm.release, {})[service.name] = arm.weight_bp
    return [
        Use(release=release, number=version, follows=follows, serves=serves.get(release, {}))
        for release, version, follows in found
        if release is not None
    ]
