"""Aliases of model versions: names such as `champion` that point at a version and may move.

`latest` is reserved: it is the highest version, without a row. Names that look like versions are
refused, so that `ops@x` is either a version or an alias. Read by every package, written by
`engine.control`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, names

LATEST: Final = "latest"

_LIKE_A_VERSION: Final = re.compile(r"v?\d+([._-]\d+)*", re.ASCII)


class AliasRow(SQLModel, table=True):
    """An alias as it is stored."""

    __tablename__: ClassVar[str] = "model_aliases"

    model: str = Field(primary_key=True)
    alias: str = Field(primary_key=True)
    version_id: int
    set_at_us: int
    set_by: str
    intent_id: int | None


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """One alias of a model, and who pointed it where it points."""

    model: str
    alias: str
    version_id: int
    set_at_us: int
    set_by: str


def check(alias: str) -> str:
    """The alias itself.

    Raises:
        BadName: it breaks the rule for names.
        Invalid: it is reserved, or looks like a version.
    """
    names.check("alias", alias)
    if alias == LATEST:
        raise errors.Invalid("`latest` is the highest version by itself; choose another alias.")
    if _LIKE_A_VERSION.fullmatch(alias):
        raise errors.Invalid(
            f"{alias!r} looks like a version; choose an alias with a meaning, such as champion."
        )
    return alias


async def every(s: AsyncSession) -> list[Alias]:
    """All aliases, by model and name."""
    query = select(AliasRow).order_by(col(AliasRow.model), col(AliasRow.alias))
    return [_alias(row) for row in await s.scalars(query)]


async def find(s: AsyncSession, model: str, alias: str) -> Alias | None:
    """One alias of a model; None if there is none. `latest` has no row."""
    row = await s.get(AliasRow, (model, alias))
    return None if row is None else _alias(row)


async def point(
    s: AsyncSession,
    model: str,
    alias: str,
    version_id: int,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> None:
    """Point an alias at a version of its model; it moves if it pointed elsewhere.

    Raises:
        BadName, Invalid: it cannot be the name of an alias.
    """
    check(alias)
    row = await s.get(AliasRow, (model, alias))
    before = None if row is None else row.version_id
    if before == version_id:
        return
    fresh = AliasRow(
        model=model,
        alias=alias,
        version_id=version_id,
        set_at_us=at_us,
        set_by=actor,
        intent_id=intent_id,
    )
    await s.merge(fresh)
    await ledger.write(
        s, actor=actor, verb="models.alias", noun="model", key=f"{model}@{alias}",
        before=before, after=version_id, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


async def remove(
    s: AsyncSession, model: str, alias: str, *, actor: str, at_us: int, intent_id: int | None = None
) -> None:
    """Remove an alias; the version that it pointed at stays.

    Raises:
        NotFound: the model has no such alias; the message lists those it has.
    """
    row = await s.get(AliasRow, (model, alias))
    if row is None:
        known = [each.alias for each in await every(s) if each.model == model]
        raise errors.unknown("alias", f"{model}@{alias}", [f"{model}@{each}" for each in known])
    before = row.version_id
    await s.delete(row)
    await ledger.write(
        s, actor=actor, verb="models.unalias", noun="model", key=f"{model}@{alias}",
        before=before, after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


def _alias(row: AliasRow) -> Alias:
    return msgspec.convert(row, Alias, from_attributes=True)
