"""The rows of prompt versions and labels, and the look-ups that versions and labels share.

Imported by `storage.prompts`, `storage.prompt_labels` and `storage.prompt_uses` alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors
from storage.prompt_content import Message, Variable


class PromptRow(SQLModel, table=True):
    """A version as it is stored; messages, variables and schema are JSON."""

    __tablename__: ClassVar[str] = "prompts"

    id: int | None = Field(default=None, primary_key=True)
    prompt: str
    number: int
    tag: str | None = None
    messages: str
    variables: str
    response_schema: str | None = None
    sha256: str
    parent: int | None = None
    author: str
    comment: str
    created_at_us: int


class LabelRow(SQLModel, table=True):
    """A label as it is stored."""

    __tablename__: ClassVar[str] = "prompt_labels"

    prompt: str = Field(primary_key=True)
    label: str = Field(primary_key=True)
    number: int
    set_at_us: int
    set_by: str
    intent_id: int | None
    protected_by: str | None = None
    protected_at_us: int | None = None


class MoveRow(SQLModel, table=True):
    """One move of a label, never changed; `restores` is the move that it went back to."""

    __tablename__: ClassVar[str] = "prompt_label_moves"

    id: int | None = Field(default=None, primary_key=True)
    prompt: str
    label: str
    number: int
    restores: int | None = None
    set_at_us: int
    set_by: str
    intent_id: int | None


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a prompt.

    `tag` is an optional semantic version, unique among the versions of the prompt; `parent` is the
    number of the version that it was made from, None for the first and where it is not known.
    """

    id: int
    prompt: str
    number: int
    tag: str | None = None
    messages: tuple[Message, ...]
    variables: tuple[Variable, ...]
    response_schema: dict[str, Any] | None = None
    sha256: str
    parent: int | None = None
    author: str
    comment: str
    created_at_us: int

    @property
    def name(self) -> str:
        """As people write it: terse@3."""
        return f"{self.prompt}@{self.number}"


def version(row: PromptRow) -> PromptVersion:
    """The record of a row."""
    schema = row.response_schema
    return PromptVersion(
        id=row.id or 0,
        prompt=row.prompt,
        number=row.number,
        tag=row.tag,
        messages=msgspec.json.decode(row.messages, type=tuple[Message, ...]),
        variables=msgspec.json.decode(row.variables, type=tuple[Variable, ...]),
        response_schema=None if schema is None else msgspec.json.decode(schema),
        sha256=row.sha256,
        parent=row.parent,
        author=row.author,
        comment=row.comment,
        created_at_us=row.created_at_us,
    )


def of(prompt: str) -> Select[PromptRow]:
    """The query for the versions of a prompt."""
    return select(PromptRow).where(col(PromptRow.prompt) == prompt)


async def latest(s: AsyncSession, prompt: str) -> PromptRow | None:
    """The newest version of a prompt; None where there is no such prompt."""
    return (await s.scalars(of(prompt).order_by(col(PromptRow.number).desc()).limit(1))).first()


async def numbered(s: AsyncSession, prompt: str, number: int) -> PromptRow | None:
    """The version with this number."""
    return (await s.scalars(of(prompt).where(col(PromptRow.number) == number))).first()


async def require(s: AsyncSession, prompt: str, number: int) -> PromptRow:
    """The version with this number.

    Raises:
        NotFound: there is no such prompt, or it has no such version; the message says what it has.
    """
    newest = await require_latest(s, prompt)
    if number == newest.number:
        return newest
    row = await numbered(s, prompt, number) if number <= newest.number else None
    if row is None:
        has = "version 1 only" if newest.number == 1 else f"versions 1 to {newest.number}"
        raise errors.NotFound(f"There is no prompt {prompt}@{number}: {prompt} has {has}.")
    return row


async def require_latest(s: AsyncSession, prompt: str) -> PromptRow:
    """The newest version of a prompt.

    Raises:
        NotFound: there is no such prompt; the message lists those there are.
    """
    if (row := await latest(s, prompt)) is None:
        query = select(col(PromptRow.prompt)).distinct().order_by(col(PromptRow.prompt))
        raise errors.unknown("prompt", prompt, list(await s.scalars(query)))
    return row
