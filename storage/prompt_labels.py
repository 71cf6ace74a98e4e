"""The labels of prompts: names that point at versions and move, with the history of their moves.

`latest` is no row: it is the newest version. Going back never toggles, as with splits. A protected
label is moved by admins only; control holds people to it. Imported by `storage.prompts`, which
hands the rest on, by `engine.control` and `app`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, ledger, names, prompt_rows, splits
from storage.prompt_rows import LabelRow, MoveRow

PRODUCTION: Final = "production"
LATEST: Final = "latest"


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A label and the version that it points at. `protected_by` is the admin who protected it."""

    prompt: str
    label: str
    number: int
    set_at_us: int
    set_by: str
    intent_id: int | None
    protected_by: str | None = None
    protected_at_us: int | None = None

    @property
    def name(self) -> str:
        """As people write it: terse:production."""
        return f"{self.prompt}:{self.label}"


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One move of a label. `restores` is the move that it went back to; None: it was set."""

    id: int
    prompt: str
    label: str
    number: int
    restores: int | None
    set_at_us: int
    set_by: str
    intent_id: int | None


async def find(s: AsyncSession, prompt: str, label: str) -> Label:
    """A label that was set.

    Raises:
        NotFound: there is no such prompt, or no such label on it; the message lists those it has.
    """
    row = await s.get(LabelRow, (prompt, label))
    if row is None:
        newest = await prompt_rows.require_latest(s, prompt)
        known = [*await labels(s, prompt), LATEST]
        raise errors.NotFound(
            f"{prompt} has no label {label}; it has {', '.join(known)}. "
            f"`paddock prompts label {prompt}@{newest.number} {label}` sets it."
        )
    return msgspec.convert(row, Label, from_attributes=True)


def followed(reference: str | None) -> str:
    """The label that a release with this prompt follows: terse:production for `terse`, too.

    Raises:
        Invalid: no label is named, or one that moves by itself.
    """
    prompt, _, label = (reference or "").partition(":")
    if not prompt or "@" in prompt:
        raise errors.Invalid("A release follows a label: name the prompt as NAME or NAME:LABEL.")
    if label == LATEST:
        raise errors.Invalid(
            "`latest` moves whenever a version is added; follow a label that people move."
        )
    return f"{prompt}:{label or PRODUCTION}"


async def labels(s: AsyncSession, prompt: str) -> dict[str, int]:
    """The labels of a prompt with the number that each points at, without `latest`."""
    query = select(LabelRow).where(col(LabelRow.prompt) == prompt).order_by(col(LabelRow.label))
    return {row.label: row.number for row in await s.scalars(query)}


async def of(s: AsyncSession, prompts: Iterable[str]) -> list[Label]:
    """The labels of several prompts, by prompt and label."""
    query = (
        select(LabelRow)
        .where(col(LabelRow.prompt).in_(set(prompts)))
        .order_by(col(LabelRow.prompt), col(LabelRow.label))
    )
    return [msgspec.convert(row, Label, from_attributes=True) for row in await s.scalars(query)]


async def label(
    s: AsyncSession,
    prompt: str,
    label: str,
    number: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> None:
    """Point a label at a version; nothing changes if it does already.

    Raises:
        BadName: it cannot be a label. Invalid: it is `latest`. NotFound: no such version.
    """
    names.check("label", label)
    if label == LATEST:
        raise errors.Invalid("`latest` moves by itself; choose another label.")
    await prompt_rows.require(s, prompt, number)
    await _move(s, "prompts.label", prompt, label, number, None, actor, at_us, intent_id)


async def go_back(
    s: AsyncSession,
    *,
    prompt: str,
    label: str,
    to: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Move:
    """Point a label at the version that it had after move `to`, and return that move.

    Never toggles: a label that is back there already keeps its version and nothing is written.

    Raises:
        NotFound: there is no such label, or it never made that move.
    """
    await find(s, prompt, label)
    target = await find_move(s, prompt, label, to)
    current = (await history(s, prompt, label, limit=1))[0]
    if splits.origin(current) != splits.origin(target):
        await _move(
            s, "prompts.undo", prompt, label, target.number, splits.origin(target), actor, at_us,
            intent_id,
        )  # fmt: skip
    return target


async def remove(
    s: AsyncSession,
    *,
    prompt: str,
    label: str,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Label:
    """Remove a label, and return what it was; its moves stay, and it may be set again.

    Raises:
        NotFound: there is no such label.
    """
    before = await find(s, prompt, label)
    await s.delete(await s.get_one(LabelRow, (prompt, label)))
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="prompts.unlabel", noun="prompt", key=before.name,
        before=before.number, after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return before


async def history(s: AsyncSession, prompt: str, label: str, limit: int = 100) -> list[Move]:
    """The moves of a label, newest first; the first is where it is."""
    query = (
        select(MoveRow)
        .where(col(MoveRow.prompt) == prompt, col(MoveRow.label) == label)
        .order_by(col(MoveRow.id).desc())
        .limit(limit)
    )
    return [msgspec.convert(row, Move, from_attributes=True) for row in await s.scalars(query)]


async def find_move(s: AsyncSession, prompt: str, label: str, id: int) -> Move:
    """One move of a label.

    Raises:
        NotFound: the label never made it.
    """
    row = await s.get(MoveRow, id)
    if row is None or (row.prompt, row.label) != (prompt, label):
        raise errors.NotFound(
            f"{prompt}:{label} never made a move {id}; `paddock prompts show {prompt}:{label}` "
            "lists its moves."
        )
    return msgspec.convert(row, Move, from_attributes=True)


async def protect(
    s: AsyncSession, *, prompt: str, label: str, on: bool, actor: str, at_us: int,
    intent_id: int | None = None,
) -> bool:  # fmt: skip
    """Protect a label, or no longer; whether that changed anything.

    Raises:
        NotFound: there is no such label.
    """
    before = await find(s, prompt, label)
    if (before.protected_by is not None) == on:
        return False
    row = await s.get_one(LabelRow, (prompt, label))
    row.protected_by, row.protected_at_us = (actor, at_us) if on else (None, None)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="prompts.protect" if on else "prompts.unprotect", noun="prompt",
        key=before.name, before=not on, after=on, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return True


async def _move(
    s: AsyncSession,
    verb: str,
    prompt: str,
    label: str,
    number: int,
    restores: int | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> None:
    row = await s.get(LabelRow, (prompt, label))
    before = None if row is None else row.number
    if before == number and restores is None:
        return
    row = row or LabelRow(
        prompt=prompt, label=label, number=number, set_at_us=at_us, set_by=actor, intent_id=None
    )
    row.number, row.set_at_us, row.set_by, row.intent_id = number, at_us, actor, intent_id
    s.add(row)
    move = MoveRow(
        prompt=prompt, label=label, number=number, restores=restores, set_at_us=at_us,
        set_by=actor, intent_id=intent_id,
    )  # fmt: skip
    s.add(move)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb=verb, noun="prompt", key=f"{prompt}:{label}",
        before=before, after=number, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
