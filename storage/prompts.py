"""Prompts: immutable numbered versions of messages, and how they are found.

A bare name means the label `production`; what is not there is an error, never another version.
Nothing here renders a template. Read by every package, written by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, String, cast, exists, func, or_, select
from sqlalchemy import inspect as mapping
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, ledger, models, names, prompt_content, prompt_rows
from storage.prompt_content import Message, Role, Type, Variable
from storage.prompt_labels import LATEST, PRODUCTION, label, labels
from storage.prompt_labels import find as _find_label
from storage.prompt_rows import LabelRow, PromptRow, PromptVersion

__all__ = [
    "LATEST", "PRODUCTION", "Message", "PromptVersion", "Role", "Summary", "Type", "Variable",
    "add", "content", "every", "find", "get", "label", "labels", "named", "names_of", "page",
    "put", "versions",
]  # fmt: skip

PAGE: Final = 100
_DIGITS: Final = 9
_TABLE: Final = mapping(PromptRow).local_table

content = prompt_content.sha256


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A version in a list: everything except messages, variables and schema."""

    id: int
    prompt: str
    number: int
    tag: str | None
    sha256: str
    parent: int | None
    author: str
    comment: str
    created_at_us: int

    @property
    def name(self) -> str:
        """As people write it: terse@3."""
        return f"{self.prompt}@{self.number}"


async def add(
    s: AsyncSession,
    *,
    prompt: str,
    messages: Sequence[Message],
    variables: Sequence[Variable],
    author: str,
    comment: str,
    at_us: int,
    tag: str | None = None,
    response_schema: Mapping[str, Any] | None = None,
    parent: int | None = None,
    intent_id: int | None = None,
) -> PromptVersion:
    """Add the next version; the content of the latest again is the latest again.

    Without a `parent` it is made from the version before it.

    Raises:
        BadName, Invalid: the message says what is allowed.
        NotFound: there is no version `parent`. AlreadyExists: another version has the tag.
    """
    newest = await prompt_rows.latest(s, prompt)
    if newest is not None and newest.sha256 == content(messages, variables, response_schema):
        if tag is not None and tag != newest.tag:
            raise errors.Invalid(
                f"{prompt}@{newest.number} has this content, {_tagged(newest.tag)}; a version "
                f"never changes, so it cannot be tagged {tag}."
            )
        return prompt_rows.version(newest)
    if parent is not None:
        await prompt_rows.require(s, prompt, parent)
    following = 1 if newest is None else newest.number + 1
    return await put(
        s,
        prompt=prompt,
        number=following,
        messages=messages,
        variables=variables,
        response_schema=response_schema,
        tag=tag,
        parent=parent or (following - 1 or None),
        author=author,
        comment=comment,
        created_at_us=at_us,
        actor=author,
        at_us=at_us,
        intent_id=intent_id,
    )


async def put(
    s: AsyncSession,
    *,
    prompt: str,
    number: int,
    messages: Sequence[Message],
    variables: Sequence[Variable],
    response_schema: Mapping[str, Any] | None,
    tag: str | None,
    parent: int | None,
    author: str,
    comment: str,
    created_at_us: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> PromptVersion:
    """Add a version with its number, which has to be the next; `actor` does it, now.

    Raises:
        BadName, Invalid: the message says what is allowed. AlreadyExists: another has the tag.
    """
    names.check("prompt", prompt)
    prompt_content.check(messages, variables, response_schema)
    newest = await prompt_rows.latest(s, prompt)
    following = 1 if newest is None else newest.number + 1
    if number != following:
        raise errors.Invalid(f"The next version of {prompt} is {following}, not {number}.")
    if parent is not None and not 0 < parent < number:
        raise errors.Invalid(
            f"{prompt}@{number} cannot be made from {prompt}@{parent}: the parent of a version is "
            "an earlier one."
        )
    if tag is not None:
        await _check_tag(s, prompt, models.check_version(tag))
    row = PromptRow(
        prompt=prompt,
        number=number,
        tag=tag,
        messages=msgspec.json.encode(tuple(messages)).decode(),
        variables=msgspec.json.encode(tuple(variables)).decode(),
        response_schema=None
        if response_schema is None
        else prompt_content.stored_schema(response_schema),
        sha256=content(messages, variables, response_schema),
        parent=parent,
        author=author,
        comment=comment,
        created_at_us=created_at_us,
    )
    s.add(row)
    await s.flush()
    added = prompt_rows.version(row)
    await ledger.write(
        s, actor=actor, verb="prompts.add", noun="prompt", key=added.name, before=None,
        after={"sha256": added.sha256, "comment": comment}, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return added


async def _check_tag(s: AsyncSession, prompt: str, tag: str) -> None:
    query = prompt_rows.of(prompt).where(col(PromptRow.tag) == tag)
    if (row := (await s.scalars(query)).first()) is not None:
        raise errors.AlreadyExists(
            f"{prompt}@{row.number} is tagged {tag} already; take another tag."
        )


def _tagged(tag: str | None) -> str:
    return "untagged" if tag is None else f"tagged {tag}"


async def find(s: AsyncSession, name: str) -> PromptVersion:
    """By `terse@3`, `terse@1.2.0` (a tag), `terse:production`, or `terse`, its production label.

    Raises:
        NotFound: there is none; the message says what there is.
    """
    prompt, at, version = name.partition("@")
    if at:
        return prompt_rows.version(await _exactly(s, prompt, version))
    prompt, colon, label = name.partition(":")
    if colon and label == LATEST:
        return prompt_rows.version(await prompt_rows.require_latest(s, prompt))
    pointed = await _find_label(s, prompt, label if colon else PRODUCTION)
    return prompt_rows.version(await prompt_rows.require(s, prompt, pointed.number))


async def _exactly(s: AsyncSession, prompt: str, version: str) -> PromptRow:
    if version.isascii() and version.isdecimal() and len(version) <= _DIGITS:
        return await prompt_rows.require(s, prompt, int(version))
    query = prompt_rows.of(prompt).where(col(PromptRow.tag) == version)
    if (row := (await s.scalars(query)).first()) is not None:
        return row
    newest = await prompt_rows.require_latest(s, prompt)
    raise errors.NotFound(
        f"There is no prompt {prompt}@{version[:40]}: no version of {prompt} has this tag; its "
        f"versions are 1 to {newest.number}."
    )


async def get(s: AsyncSession, id: int) -> PromptVersion:
    """By its id."""
    row = await s.get(PromptRow, id)
    if row is None:
        raise errors.NotFound(f"There is no prompt version with id {id}.")
    return prompt_rows.version(row)


async def every(s: AsyncSession, ids: Iterable[int] | None = None) -> list[PromptVersion]:
    """All versions, or those with these ids, by prompt and number."""
    query = select(PromptRow).order_by(col(PromptRow.prompt), col(PromptRow.number))
    if ids is not None:
        query = query.where(col(PromptRow.id).in_(set(ids)))
    return [prompt_rows.version(row) for row in await s.scalars(query)]


async def versions(s: AsyncSession, prompt: str) -> list[PromptVersion]:
    """The versions of one prompt by number; none where there is no such prompt."""
    query = prompt_rows.of(prompt).order_by(col(PromptRow.number))
    return [prompt_rows.version(row) for row in await s.scalars(query)]


async def named(s: AsyncSession) -> list[str]:
    """The names of all prompts."""
    query = select(col(PromptRow.prompt)).distinct().order_by(col(PromptRow.prompt))
    return list(await s.scalars(query))


async def names_of(s: AsyncSession, ids: Iterable[int]) -> dict[int, str]:
    """The names of versions by their ids: {7: "terse@3"}."""
    query = select(col(PromptRow.id), col(PromptRow.prompt), col(PromptRow.number))
    found = await s.execute(query.where(col(PromptRow.id).in_(set(ids))))
    return {id: f"{prompt}@{number}" for id, prompt, number in found if id is not None}


async def page(
    s: AsyncSession,
    *,
    prompt: str | None = None,
    after: tuple[str, int] | None = None,
    text: str = "",
    limit: int | None = PAGE,
) -> list[Summary]:
    """Versions by prompt, newest first within each, from the one after (prompt, number) on.

    `text` is contained in a version's name, tag, author, comment or labels. `limit` None: all.
    """
    columns = _TABLE.c
    query = select(*(columns[field] for field in Summary.__struct_fields__))
    query = query.order_by(columns.prompt, columns.number.desc())
    if prompt is not None:
        query = query.where(columns.prompt == prompt)
    if after is not None:
        query = query.where(
            columns.prompt >= after[0],
            (columns.prompt > after[0]) | (columns.number < after[1]),
        )
    if text:
        query = query.where(_contains(text))
    return [
        Summary(
            id=id,
            prompt=name,
            number=number,
            tag=tag,
            sha256=sha256,
            parent=parent,
            author=author,
            comment=comment,
            created_at_us=at_us,
        )
        for id, name, number, tag, sha256, parent, author, comment, at_us in await s.execute(
            query.limit(limit)
        )
    ]


def _contains(text: str) -> ColumnElement[bool]:
    """Whether a listed column of a version contains a text."""
    columns = _TABLE.c
    name = columns.prompt + "@" + cast(columns.number, String)
    labelled = exists().where(
        col(LabelRow.prompt) == columns.prompt,
        col(LabelRow.number) == columns.number,
        func.instr(col(LabelRow.label), text) > 0,
    )
    shown = (name, func.coalesce(columns.tag, ""), columns.author, columns.comment)
    return or_(labelled, *(func.instr(each, text) > 0 for each in shown))
