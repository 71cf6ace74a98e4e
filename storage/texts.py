"""The texts of requests, stored only where their service records texts, and pruned after days.

Written by the gateway; read through `storage.requests`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.store import upsert

_AT_ONCE: Final = 500


class TextRow(SQLModel, table=True):
    """A text as it is stored."""

    __tablename__: ClassVar[str] = "request_texts"

    request_id: str = Field(primary_key=True)
    at_us: int
    prompt: str
    completion: str
    asked: str | None = None
    turn: str | None = None


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt and its completion; foreign text, which may contain anything.

    `asked` is the request as its caller wrote it, as JSON, for a replay. It is None where only the
    beginning of the prompt was kept, or an earlier version recorded it. `turn` is the answer as
    JSON where it is more than its text: with reasoning, or with calls of tools.
    """

    request_id: str
    at_us: int
    prompt: str
    completion: str
    asked: str | None = None
    turn: str | None = None


class _Turn(msgspec.Struct):
    """What is read of a turn."""

    reasoning: str = ""


async def record(s: AsyncSession, rows: Iterable[Text]) -> None:
    """Store texts; the caller has checked that the service records them."""
    values: list[dict[str, Any]] = [
        {
            "request_id": each.request_id,
            "at_us": each.at_us,
            "prompt": storable(each.prompt),
            "completion": storable(each.completion),
            "asked": each.asked,
            "turn": each.turn,
        }
        for each in rows
    ]
    await upsert(s, TextRow, values, key=("request_id",))


async def of(s: AsyncSession, request_id: str) -> Text | None:
    """The text of a request, None when it was not stored or has been pruned."""
    row = await s.get(TextRow, request_id)
    return None if row is None else msgspec.convert(row, Text, from_attributes=True)


async def completions(s: AsyncSession, request_ids: Sequence[str]) -> dict[str, str]:
    """The answers to requests, by their ids; those that are not stored are left out."""
    found: dict[str, str] = {}
    for at in range(0, len(request_ids), _AT_ONCE):
        query = select(col(TextRow.request_id), col(TextRow.completion)).where(
            col(TextRow.request_id).in_(request_ids[at : at + _AT_ONCE])
        )
        found.update((row[0], row[1]) for row in await s.execute(query))
    return found


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete at most `limit` texts older than a moment; returns how many. Call it until 0."""
    old = select(col(TextRow.request_id)).where(col(TextRow.at_us) < before_us).limit(limit)
    gone = await s.execute(delete(TextRow).where(col(TextRow.request_id).in_(old)))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def reasoning(text: Text) -> str | None:
    """What the model thought before its answer; None where it did not."""
    if text.turn is None:
        return None
    return msgspec.json.decode(text.turn, type=_Turn).reasoning or None


def storable(written: str) -> str:
    """Lone surrogates, which UTF-8 cannot encode, become U+FFFD."""
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
