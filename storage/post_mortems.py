"""What people write after an incident: the sections of its post-mortem, and the action items.

The figures of a post-mortem are computed and not kept here. Every change writes the ledger, so no
earlier wording is lost. Read by `runbooks` and `app`, written by `engine.control`.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger
from storage.incident_states import Section
from storage.incidents import Incident

MOST_ITEMS: Final = 100
"""Action items of one incident."""


class SectionRow(SQLModel, table=True):
    """A section as it is stored."""

    __tablename__: ClassVar[str] = "post_mortem_sections"

    incident_id: int = Field(primary_key=True)
    section: str = Field(primary_key=True)
    text: str
    written_by: str
    written_at_us: int


class ItemRow(SQLModel, table=True):
    """An action item as it is stored."""

    __tablename__: ClassVar[str] = "action_items"

    id: int | None = Field(default=None, primary_key=True)
    incident_id: int
    title: str
    owner: str
    added_by: str
    added_at_us: int
    done_at_us: int | None
    done_by: str | None


class ActionItem(msgspec.Struct, frozen=True, kw_only=True):
    """Work that keeps it from happening again; open until `done_at_us`."""

    id: int
    incident_id: int
    title: str
    owner: str
    added_by: str
    added_at_us: int
    done_at_us: int | None = None
    done_by: str | None = None


async def write(
    s: AsyncSession, incident: Incident, section: Section, text: str, *, actor: str, at_us: int,
    intent_id: int | None = None,
) -> bool:  # fmt: skip
    """Write a section; an empty text removes it. Says whether that changed anything."""
    row = await s.get(SectionRow, (incident.id, section.value), populate_existing=True)
    before = None if row is None else row.text
    if (before or "") == text:
        return False
    if row is None:
        row = SectionRow(
            incident_id=incident.id, section=section.value, text=text, written_by=actor,
            written_at_us=at_us,
        )  # fmt: skip
        s.add(row)
    elif text:
        row.text, row.written_by, row.written_at_us = text, actor, at_us
    else:
        await s.delete(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="incidents.write", noun="incident", key=str(incident.id),
        before=before and {section: before}, after={section: text} if text else None, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
    return True


async def sections(s: AsyncSession, incident_id: int) -> dict[Section, str]:
    """The sections that have been written."""
    query = select(SectionRow).where(col(SectionRow.incident_id) == incident_id)
    return {Section(row.section): row.text for row in await s.scalars(query)}


async def add_item(
    s: AsyncSession, incident: Incident, title: str, owner: str, *, actor: str, at_us: int,
    intent_id: int | None = None,
) -> ActionItem:  # fmt: skip
    """A new action item.

    Raises:
        Invalid: the incident has as many as it takes.
    """
    query = select(func.count()).where(col(ItemRow.incident_id) == incident.id)
    if (await s.execute(query)).scalar_one() >= MOST_ITEMS:
        raise errors.Invalid(f"{incident.name} has {MOST_ITEMS} action items already.")
    row = ItemRow(
        incident_id=incident.id, title=title, owner=owner, added_by=actor, added_at_us=at_us,
        done_at_us=None, done_by=None,
    )  # fmt: skip
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="incidents.add_item", noun="incident", key=str(incident.id),
        before=None, after={"item": row.id, "title": title, "owner": owner}, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
    return _item(row)


async def finish_item(
    s: AsyncSession, incident: Incident, id: int, *, actor: str, at_us: int,
    intent_id: int | None = None,
) -> ActionItem:  # fmt: skip
    """Mark an action item as done.

    Raises:
        NotFound: the incident has no such item.
        Moved: it is done already.
    """
    row = await s.get(ItemRow, id, populate_existing=True)
    if row is None or row.incident_id != incident.id:
        raise errors.NotFound(f"{incident.name} has no action item {id}.")
    if row.done_at_us is not None:
        raise errors.Moved(f"Action item {id} has been done already, by {row.done_by}.")
    row.done_at_us, row.done_by = at_us, actor
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="incidents.finish_item", noun="incident", key=str(incident.id),
        before={"item": id, "done": False}, after={"item": id, "done": True}, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
    return _item(row)


async def items(
    s: AsyncSession, incident_id: int | None = None, *, done: bool = False
) -> list[ActionItem]:
    """The action items of an incident, oldest first; without one, those of all incidents.

    Those of all incidents are only the ones that are not done, unless `done` asks for the others.
    """
    query = select(ItemRow).order_by(col(ItemRow.id))
    if incident_id is not None:
        query = query.where(col(ItemRow.incident_id) == incident_id)
    elif not done:
        query = query.where(col(ItemRow.done_at_us).is_(None))
    return [_item(row) for row in await s.scalars(query)]


def _item(row: ItemRow) -> ActionItem:
    return msgspec.convert(row, ActionItem, from_attributes=True)
