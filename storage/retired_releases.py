"""Releases that are retired: kept with their history, but given no traffic any more.

Releases are immutable, so retirement is a row of its own. `storage.availability` reports a retired
release as unable to answer, so that no split can name it. Read by every package.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel

from storage import ledger
from storage.releases import Release


class RetiredRow(SQLModel, table=True):
    """The retirement of a release as it is stored."""

    __tablename__: ClassVar[str] = "retired_releases"

    release: int = Field(primary_key=True)
    at_us: int
    actor: str
    reason: str


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """Who retired a release, when, and why."""

    release: int
    at_us: int
    actor: str
    reason: str


async def add(
    s: AsyncSession, release: Release, *, actor: str, reason: str, at_us: int, intent_id: int | None
) -> None:
    """Retire a release that is not retired; the caller has checked that nothing names it."""
    s.add(RetiredRow(release=release.number, at_us=at_us, actor=actor, reason=reason))
    await s.flush()
    await _tell(s, release, "retire", actor, at_us, intent_id)


async def remove(
    s: AsyncSession, release: Release, *, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Bring a retired release back."""
    await s.delete(await s.get_one(RetiredRow, release.number))
    await s.flush()
    await _tell(s, release, "unretire", actor, at_us, intent_id)


async def every(s: AsyncSession) -> dict[int, Retired]:
    """All of them, by the number of their release."""
    found = [
        msgspec.convert(row, Retired, from_attributes=True)
        for row in await s.scalars(select(RetiredRow))
    ]
    return {each.release: each for each in found}


async def _tell(
    s: AsyncSession, release: Release, verb: str, actor: str, at_us: int, intent_id: int | None
) -> None:
    retired = verb == "retire"
    await ledger.write(
        s, actor=actor, verb=f"releases.{verb}", noun="release", key=release.name,
        before={"retired": not retired}, after={"retired": retired}, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
