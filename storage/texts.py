"""The texts of requests, kept only where the service says so, and only for a while.

Written by the gateway, read by everybody, for the most part through `storage.requests`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.store import upsert


class TextRow(SQLModel, table=True):
    """A text as it is kept."""

    __tablename__: ClassVar[str] = "request_texts"

    request_id: str = Field(primary_key=True)
    at_us: int
    prompt: str
    completion: str


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered; it is somebody's text and may hold anything."""

    request_id: str
    at_us: int
    prompt: str
    completion: str


async def record(s: AsyncSession, rows: Iterable[Text]) -> None:
    """Keep texts. Whether a service wants that is the caller's to know."""
    values: list[dict[str, Any]] = [
        {
            "request_id": each.request_id,
            "at_us": each.at_us,
            "prompt": _storable(each.prompt),
            "completion": _storable(each.completion),
        }
        for each in rows
    ]
    await upsert(s, TextRow, values, key=("request_id",))


async def of(s: AsyncSession, request_id: str) -> Text | None:
    """The text of a request, None when it was not kept or is kept no longer."""
    row = await s.get(TextRow, request_id)
    return None if row is None else msgspec.convert(row, Text, from_attributes=True)


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Forget at most `limit` texts from before a moment; how many. Call it until it is 0."""
    old = select(col(TextRow.request_id)).where(col(TextRow.at_us) < before_us).limit(limit)
    gone = await s.execute(delete(TextRow).where(col(TextRow.request_id).in_(old)))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def _storable(written: str) -> str:
    """Halves of surrogate pairs, which no file can hold, as the sign for what cannot be read."""
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
