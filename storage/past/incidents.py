"""Incidents as they were at a past moment, by the ledger. Imported by `app`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, incident_alerts, incidents, ledger, post_mortems
from storage.incident_alerts import Joined
from storage.incidents import OPEN, Incident, IncidentRow, Role, Severity, State
from storage.ledger import Entry
from storage.post_mortems import ActionItem

_CHANGES: Final = 1_000
_STATES: Final = frozenset(state.value for state in State)


async def tail(
    s: AsyncSession, at_us: int, limit: int = 100, *, service: str | None = None
) -> list[Incident]:
    """The newest incidents that had been opened, newest first."""
    query = select(col(IncidentRow.id)).where(col(IncidentRow.opened_at_us) <= at_us)
    if service is not None:
        query = query.where(col(IncidentRow.service) == service)
    ids = await s.scalars(query.order_by(col(IncidentRow.id).desc()).limit(limit))
    return [await find(s, id, at_us) for id in ids.all() if id is not None]


async def find(s: AsyncSession, id: int, at_us: int) -> Incident:
    """One incident by its number.

    Raises:
        NotFound: there is no such incident, or it had not been opened.
    """
    known = await incidents.find(s, id)
    if known.opened_at_us > at_us:
        raise errors.NotFound(f"{known.name} had not been opened then.")
    changes = await ledger.of(s, "incident", str(id), limit=_CHANGES)
    return _then(known, [each for each in reversed(changes) if each.at_us <= at_us])


async def items(s: AsyncSession, at_us: int, id: int | None = None) -> list[ActionItem]:
    """The action items of an incident; without one, all that were not done."""
    found = [
        each
        if each.done_at_us is None or each.done_at_us <= at_us
        else msgspec.structs.replace(each, done_at_us=None)
        for each in await post_mortems.items(s, id, done=True)
        if each.added_at_us <= at_us
    ]
    return found if id is not None else [each for each in found if each.done_at_us is None]


async def alerts_of(s: AsyncSession, id: int, at_us: int) -> list[Joined]:
    """The alerts that had joined an incident."""
    return [
        each
        if each.ended_at_us is None or each.ended_at_us <= at_us
        else msgspec.structs.replace(each, ended_at_us=None)
        for each in await incident_alerts.of(s, id)
        if each.joined_at_us <= at_us
    ]


async def open_ones(s: AsyncSession, at_us: int) -> list[Incident]:
    """The newest incidents that were not closed, oldest first."""
    return [each for each in await tail(s, at_us) if each.state in OPEN][::-1]


def _then(known: Incident, changes: Iterable[Entry]) -> Incident:
    kept: dict[str, Any] = {"state": State.ACTIVE, "stable_at_us": None, "closed_at_us": None}
    roles: dict[Role, str] = {}
    for version, entry in enumerate(changes, start=1):
        kept |= {"version": version}
        if isinstance(entry.after, str) and entry.after in _STATES:
            kept |= {"state": State(entry.after), "moved_at_us": entry.at_us}
            if kept["state"] is State.STABLE:
                kept["stable_at_us"] = entry.at_us
            kept["closed_at_us"] = entry.at_us if kept["state"] is State.CLOSED else None
        elif entry.verb == "incidents.opened":
            kept |= {"severity": Severity(entry.after["severity"]), "moved_at_us": entry.at_us}
        elif entry.verb == "incidents.severity":
            kept["severity"] = Severity(entry.after)
        elif entry.verb == "incidents.role":
            for role in entry.before or {}:
                roles.pop(Role(role), None)
            roles |= {Role(role): person for role, person in (entry.after or {}).items()}
    return msgspec.structs.replace(known, roles=roles, **kept)
