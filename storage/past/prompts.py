"""Prompt versions and labels as they were at a past moment. Imported by `app`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, prompt_labels, prompt_uses, prompts
from storage.past import entries
from storage.past import releases as past_releases
from storage.past import services as past_services
from storage.prompt_labels import Label, Move
from storage.prompt_rows import MoveRow
from storage.prompt_uses import Use
from storage.prompts import PromptVersion, Summary


async def every(s: AsyncSession, at_us: int, *, prompt: str | None = None) -> list[Summary]:
    """The versions that there were, by prompt, newest first within each."""
    known = await prompts.page(s, prompt=prompt, limit=None)
    return [each for each in known if each.created_at_us <= at_us]


async def find(s: AsyncSession, name: str, at_us: int) -> PromptVersion:
    """By `terse@3`, `terse@1.2.0`, `terse:production`, or `terse`, by the labels then.

    Raises:
        NotFound: there was none.
    """
    prompt, at, _ = name.partition("@")
    if at:
        found = await prompts.find(s, name)
        if found.created_at_us > at_us:
            raise errors.NotFound(f"{found.name} had not been added then.")
        return found
    prompt, _, label = name.partition(":")
    if label == prompts.LATEST:
        known = await every(s, at_us, prompt=prompt)
        number = known[0].number if known else None
    else:
        label = label or prompts.PRODUCTION
        pointed = {each.label: each.number for each in await labels(s, at_us, [prompt])}
        number = pointed.get(label)
    if number is None:
        raise errors.NotFound(f"There was no prompt {prompt}:{label} then.")
    return await prompts.find(s, f"{prompt}@{number}")


async def history(s: AsyncSession, prompt: str, label: str, at_us: int) -> list[Move]:
    """The moves of a label up to a moment, newest first."""
    known = await prompt_labels.history(s, prompt, label)
    return [each for each in known if each.set_at_us <= at_us]


async def uses(s: AsyncSession, prompt: str, number: int | None, at_us: int) -> list[Use]:
    """The uses of a prompt, or of one version of it, newest release first."""
    created = {each.number for each in await past_releases.every(s, at_us)}
    serves: dict[int, dict[str, int]] = {}
    for service in await past_services.every(s, at_us):
        for arm in service.split.arms:
            serves.setdefault(arm.release, {})[service.name] = arm.weight_bp
    return [
        msgspec.structs.replace(each, serves=serves.get(each.release, {}))
        for each in await prompt_uses.of(s, prompt, number)
        if each.release in created
    ]


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
