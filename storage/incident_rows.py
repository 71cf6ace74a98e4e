"""The rows of incidents, as records, and how they are found.

Imported by `storage.incidents`, which changes them, and through it by every package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors
from storage.incident_states import Role, Severity, State

_NAMED: Final = re.compile(r"(?:inc-)?([0-9]{1,15})", re.IGNORECASE)


class IncidentRow(SQLModel, table=True):
    """An incident as it is stored; its roles are JSON."""

    __tablename__: ClassVar[str] = "incidents"

    id: int | None = Field(default=None, primary_key=True)
    title: str
    service: str | None
    severity: str
    state: str
    roles: str
    version: int
    began_at_us: int
    opened_at_us: int
    opened_by: str
    stable_at_us: int | None
    closed_at_us: int | None
    moved_at_us: int
    intent_id: int | None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One incident. `service` is None where it concerns the whole box.

    `began_at_us` is when clients were first affected, `opened_at_us` when it was noticed.
    `stable_at_us` is when that ended, the last time. `roles` has the people by their role;
    `version` grows with each change.
    """

    id: int
    title: str
    service: str | None
    severity: Severity
    state: State
    roles: dict[Role, str]
    version: int
    began_at_us: int
    opened_at_us: int
    opened_by: str
    stable_at_us: int | None = None
    closed_at_us: int | None = None
    moved_at_us: int
    intent_id: int | None = None

    @property
    def name(self) -> str:
        """As people call it: INC-31."""
        return f"INC-{self.id}"

    def until_us(self, now_us: int) -> int:
        """When the impact ended, or now while it has not; never before it began."""
        if self.state is State.ACTIVE:
            return max(now_us, self.began_at_us)
        return self.stable_at_us or self.moved_at_us


def number(typed: str) -> int:
    """The number of an incident that a person typed as 31, INC-31 or inc-31.

    Raises:
        NotFound: it names none.
    """
    named = _NAMED.fullmatch(typed)
    if named is None:
        raise errors.NotFound(
            f"{typed!r} is not an incident; write INC-31 or 31, as `paddock incidents list` does."
        )
    return int(named[1])


async def find(s: AsyncSession, id: int) -> Incident:
    """By its number.

    Raises:
        NotFound: there is no such incident.
    """
    row = await s.get(IncidentRow, id, populate_existing=True)
    if row is None:
        raise errors.NotFound(f"There is no INC-{id}; `paddock incidents list` has all of them.")
    return record(row)


async def tail(s: AsyncSession, limit: int = 100, *, service: str | None = None) -> list[Incident]:
    """The newest incidents, newest first, of all services or one."""
    query = select(IncidentRow).order_by(col(IncidentRow.id).desc()).limit(limit)
    if service is not None:
        query = query.where(col(IncidentRow.service) == service)
    return [record(row) for row in await s.scalars(query)]


async def open_ones(s: AsyncSession) -> list[Incident]:
    """The incidents that are not closed, oldest first."""
    query = select(IncidentRow).where(col(IncidentRow.closed_at_us).is_(None))
    rows = await s.scalars(query.order_by(col(IncidentRow.id)))
    return [record(row) for row in rows]


def record(row: IncidentRow) -> Incident:
    """The incident of a row."""
    values: Mapping[str, Any] = {
        name: getattr(row, name) for name in Incident.__struct_fields__ if name != "roles"
    }
    return msgspec.convert({**values, "roles": msgspec.json.decode(row.roles)}, Incident)
