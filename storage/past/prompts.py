"""Prompt versions and labels as they were at a past moment. Imported by `app`."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import prompts
from storage.past import entries
from storage.prompt_labels import Label
from storage.prompt_rows import MoveRow
from storage.prompts import Summary


async def every(s: AsyncSession, at_us: int, *, prompt: str | None = None) -> list[Summary]:
    """The versions that there were, by prompt, newest first within each."""
    known = await prompts.page(s, prompt=prompt, limit=None)
    return [each for each in known if each.created_at_us <= at_us]


async def labels(s: AsyncSession, at_us: int, of: Iterable[str]) -> list[Label]:
    """The labels of several prompts, by prompt and label; whether one was protected is left out."""
    newest = (
        select(func.max(col(MoveRow.id)))
        .where(col(MoveRow.prompt).in_(set(of)), col(MoveRow.set_at_us) <= at_us)
        .group_by(col(MoveRow.prompt), col(MoveRow.label))
    )
    query = select(MoveRow).where(col(MoveRow.id).in_(newest))
    gone = {
        entry.key: entry.at_us
        for entry in await entries.last(s, "prompt", at_us, verbs=["prompts.unlabel"])
    }
    found = [
        Label(
            prompt=row.prompt, label=row.label, number=row.number, set_at_us=row.set_at_us,
            set_by=row.set_by, intent_id=row.intent_id,
        )
        for row in await s.scalars(query.order_by(col(MoveRow.prompt), col(MoveRow.label)))
    ]  # fmt: skip
    return [each for each in found if gone.get(each.name, -1) < each.set_at_us]
