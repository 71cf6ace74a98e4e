"""Prompts: immutable numbered versions of messages, and the labels that point at them.

Nothing here renders a template. Read by everybody, written by `engine.control`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, names

PRODUCTION: Final = "production"
LATEST: Final = "latest"
_TEXT_LIMIT: Final = 512 * 1024

Role = Literal["system", "user", "assistant"]
Type = Literal["string", "integer", "number", "boolean"]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message; `template` is Jinja."""

    role: Role
    template: str


class Variable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A variable of the templates; `default` is text, read as `type`."""

    name: str
    type: Type = "string"
    default: str | None = None
    required: bool = False


class PromptRow(SQLModel, table=True):
    """A version as it is stored; messages and variables are JSON."""

    __tablename__: ClassVar[str] = "prompts"

    id: int | None = Field(default=None, primary_key=True)
    prompt: str
    number: int
    messages: str
    variables: str
    sha256: str
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


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a prompt."""

    id: int
    prompt: str
    number: int
    messages: tuple[Message, ...]
    variables: tuple[Variable, ...]
    sha256: str
    author: str
    comment: str
    created_at_us: int

    @property
    def name(self) -> str:
        """As people write it: terse@3."""
        return f"{self.prompt}@{self.number}"


def content(messages: Sequence[Message], variables: Sequence[Variable]) -> str:
    """The SHA-256 of the content of a version, without its name and author."""
    both = msgspec.json.encode([tuple(messages), tuple(variables)])
    return hashlib.sha256(both).hexdigest()


async def add(
    s: AsyncSession,
    *,
    prompt: str,
    messages: Sequence[Message],
    variables: Sequence[Variable],
    author: str,
    comment: str,
    at_us: int,
    intent_id: int | None = None,
) -> PromptVersion:
    """Add the next version; the content of the latest again is the latest again.

    Raises:
        BadName, Invalid: the message says what is allowed.
    """
    names.check("prompt", prompt)
    _check(messages, variables)
    sha256 = content(messages, variables)
    latest = await _latest(s, prompt)
    if latest is not None and latest.sha256 == sha256:
        return _version(latest)
    row = PromptRow(
        prompt=prompt,
        number=1 if latest is None else latest.number + 1,
        messages=msgspec.json.encode(tuple(messages)).decode(),
        variables=msgspec.json.encode(tuple(variables)).decode(),
        sha256=sha256,
        author=author,
        comment=comment,
        created_at_us=at_us,
    )
    s.add(row)
    await s.flush()
    added = _version(row)
    await ledger.write(
        s, actor=author, verb="prompts.add", noun="prompt", key=added.name,
        before=None, after={"sha256": sha256, "comment": comment}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return added


def _check(messages: Sequence[Message], variables: Sequence[Variable]) -> None:
    if not messages:
        raise errors.Invalid("A prompt has at least one message.")
    called = [variable.name for variable in variables]
    for name in called:
        if not (name.isascii() and name.isidentifier()):
            raise errors.Invalid(f"{name!r} cannot be a variable: use letters, digits and _.")
    if len(set(called)) < len(called):
        raise errors.Invalid("Two variables of the prompt have the same name.")
    if sum(len(message.template) for message in messages) > _TEXT_LIMIT:
        raise errors.Invalid(f"The templates of a prompt hold {_TEXT_LIMIT} characters at most.")


async def find(s: AsyncSession, name: str) -> PromptVersion:
    """By `terse@3`, `terse:production`, or `terse`: its production label, else the latest."""
    row = await _row(s, name)
    if row is None:
        raise errors.unknown("prompt", name, [each.name for each in await every(s)])
    return _version(row)


async def _row(s: AsyncSession, name: str) -> PromptRow | None:
    prompt, at, digits = name.partition("@")
    if at:
        known = digits.isascii() and digits.isdecimal() and len(digits) <= 9  # noqa: PLR2004 fits
        return await _numbered(s, prompt, int(digits)) if known else None
    prompt, colon, label = name.partition(":")
    if label == LATEST:
        return await _latest(s, prompt)
    found = await s.get(LabelRow, (prompt, label if colon else PRODUCTION))
    if found is not None:
        return await _numbered(s, prompt, found.number)
    return None if colon else await _latest(s, prompt)


async def get(s: AsyncSession, id: int) -> PromptVersion:
    """By its id."""
    row = await s.get(PromptRow, id)
    if row is None:
        raise errors.NotFound(f"There is no prompt version with id {id}.")
    return _version(row)


async def every(s: AsyncSession) -> list[PromptVersion]:
    """All versions, by prompt and number."""
    query = select(PromptRow).order_by(col(PromptRow.prompt), col(PromptRow.number))
    return [_version(row) for row in await s.scalars(query)]


async def label(
    s: AsyncSession,
    prompt: str,
    label: str,
    number: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> None:
    """Point a label at a version; it moves if it pointed elsewhere."""
    names.check("label", label)
    if label == LATEST:
        raise errors.Invalid("`latest` moves by itself; choose another label.")
    version = await find(s, f"{prompt}@{number}")
    row = await s.get(LabelRow, (prompt, label))
    before = None if row is None else row.number
    if before == number:
        return
    moved = LabelRow(
        prompt=prompt, label=label, number=version.number,
        set_at_us=at_us, set_by=actor, intent_id=intent_id,
    )  # fmt: skip
    await s.merge(moved)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="prompts.label", noun="prompt", key=f"{prompt}:{label}",
        before=before, after=number, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


async def labels(s: AsyncSession, prompt: str) -> dict[str, int]:
    """The labels of a prompt with the number that each points at, without `latest`."""
    query = select(LabelRow).where(col(LabelRow.prompt) == prompt).order_by(col(LabelRow.label))
    return {row.label: row.number for row in await s.scalars(query)}


async def _numbered(s: AsyncSession, prompt: str, number: int) -> PromptRow | None:
    query = select(PromptRow).where(col(PromptRow.prompt) == prompt)
    return (await s.scalars(query.where(col(PromptRow.number) == number))).first()


async def _latest(s: AsyncSession, prompt: str) -> PromptRow | None:
    query = (
        select(PromptRow)
        .where(col(PromptRow.prompt) == prompt)
        .order_by(col(PromptRow.number).desc())
        .limit(1)
    )
    return (await s.scalars(query)).first()


def _version(row: PromptRow) -> PromptVersion:
    return PromptVersion(
        id=row.id or 0,
        prompt=row.prompt,
        number=row.number,
        messages=msgspec.json.decode(row.messages, type=tuple[Message, ...]),
        variables=msgspec.json.decode(row.variables, type=tuple[Variable, ...]),
        sha256=row.sha256,
        author=row.author,
        comment=row.comment,
        created_at_us=row.created_at_us,
    )
