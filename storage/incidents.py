"""Incidents: what went wrong for clients, who works on it, and how far that is.

Here is the row of an incident and everything that changes it, each change with its event and its
ledger entry in one transaction. States and fixed words are in `incident_states`, the record of
events in `incident_events`, what people write afterwards in `post_mortems`. Never decides. Read by
every package, written by `engine.control`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, incident_events, incident_rows, ledger, moves
from storage.incident_events import IncidentEvent
from storage.incident_rows import Incident, IncidentRow, find, number, open_ones, tail
from storage.incident_states import MOVES, OPEN, Kind, Role, Section, Severity, State

__all__ = [
    "MOVES", "OPEN", "Incident", "IncidentEvent", "IncidentRow", "Kind", "Role", "Section",
    "Severity", "State", "assign", "find", "link", "move", "note", "number", "open_ones", "open_up",
    "rate", "tail",
]  # fmt: skip

MOST_EVENTS: Final = 5_000
"""Notes and links that one incident takes."""


async def open_up(
    s: AsyncSession,
    *,
    title: str,
    service: str | None,
    severity: Severity,
    actor: str,
    at_us: int,
    began_at_us: int | None = None,
    intent_id: int | None = None,
    sentence: str | None = None,
) -> Incident:
    """A new incident, active. `began_at_us` is when clients were first affected, else now.

    Raises:
        Invalid: it would begin in the future.
    """
    began = at_us if began_at_us is None else began_at_us
    if began > at_us:
        raise errors.Invalid("An incident cannot begin in the future.")
    row = IncidentRow(
        title=title,
        service=service,
        severity=severity.value,
        state=State.ACTIVE.value,
        roles="{}",
        version=1,
        began_at_us=began,
        opened_at_us=at_us,
        opened_by=actor,
        stable_at_us=None,
        closed_at_us=None,
        moved_at_us=at_us,
        intent_id=intent_id,
    )
    s.add(row)
    await s.flush()
    opened = incident_rows.record(row)
    await _record(
        s, opened, Kind.OPENED, sentence or f"as {severity}: {title}", None,
        {"title": title, "service": service, "severity": severity},
        actor=actor, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return opened


async def move(
    s: AsyncSession,
    incident: Incident,
    to: State,
    sentence: str,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    effective_at_us: int | None = None,
) -> Incident:
    """Move an incident and record the event; `effective_at_us` is when it became so, else now.

    After the clock was set back, now is not before the incident began.

    Raises:
        Invalid: the move is not legal, or it would have happened before the incident began.
        Moved: the incident is in another state by now.
    """
    now_us = max(at_us, incident.began_at_us)
    when = now_us if effective_at_us is None else effective_at_us
    if not incident.began_at_us <= when <= now_us:
        raise errors.Invalid(
            "The time lies outside the incident: give one between its beginning and now."
        )
    changes: dict[str, Any] = {"version": incident.version + 1, "moved_at_us": now_us}
    if to is State.ACTIVE:
        changes |= {"stable_at_us": None, "closed_at_us": None}
    elif incident.state is State.ACTIVE:
        changes["stable_at_us"] = when
    if to is State.CLOSED:
        changes["closed_at_us"] = now_us
    await moves.move(
        s, MOVES, IncidentRow, incident.id, incident.state, to, actor=actor, at_us=at_us,
        verb=f"incidents.{to}", intent_id=intent_id, changes=changes, reason=sentence,
    )  # fmt: skip
    await incident_events.add(
        s, incident.id, Kind.MOVED, f"{to}: {sentence}" if sentence else to.value, actor=actor,
        at_us=when, recorded_at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return await find(s, incident.id)


async def rate(
    s: AsyncSession, incident: Incident, severity: Severity, *, actor: str, at_us: int,
    intent_id: int | None = None, reason: str = "",
) -> Incident:  # fmt: skip
    """Change how bad it is."""
    row = await _row(s, incident)
    row.severity, row.version = severity.value, incident.version + 1
    why = f": {reason}" if reason else ""
    await _record(
        s, incident, Kind.SEVERITY, f"{incident.severity} → {severity}{why}",
        incident.severity, severity, actor=actor, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return await find(s, incident.id)


async def assign(
    s: AsyncSession, incident: Incident, role: Role, person: str | None, *, actor: str,
    at_us: int, intent_id: int | None = None,
) -> Incident:  # fmt: skip
    """Give a role to a person, or with None take it from the one who has it."""
    row = await _row(s, incident)
    held = dict(incident.roles)
    before = held.pop(role, None)
    if person is not None:
        held[role] = person
    row.roles, row.version = msgspec.json.encode(held).decode(), incident.version + 1
    said = f"{role}: {person or 'not assigned'}" + (f" (before: {before})" if before else "")
    await _record(
        s, incident, Kind.ROLE, said, before and {role: before}, person and {role: person},
        actor=actor, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return await find(s, incident.id)


async def note(
    s: AsyncSession, incident: Incident, sentence: str, *, actor: str, at_us: int,
    happened_at_us: int | None = None, intent_id: int | None = None, kind: Kind = Kind.NOTE,
) -> None:  # fmt: skip
    """Add a note to the timeline; `happened_at_us` is when it happened, else now.

    Raises:
        Invalid: it happened in the future, or the timeline is full.
    """
    now_us = max(at_us, incident.opened_at_us)  # also after the clock was set back
    when = now_us if happened_at_us is None else happened_at_us
    if when > now_us:
        raise errors.Invalid("A note cannot be dated in the future.")
    await _room(s, incident)
    await incident_events.add(
        s, incident.id, kind, sentence, actor=actor, at_us=when, recorded_at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip


async def link(
    s: AsyncSession, incident: Incident, entry: ledger.Entry, *, actor: str, at_us: int,
    intent_id: int | None = None, reason: str = "",
) -> None:  # fmt: skip
    """Say that a change, an entry of the ledger, belongs to the incident.

    Raises:
        Invalid: the timeline is full.
        AlreadyExists: it is linked already.
    """
    linked = {event.entry_id for event in await incident_events.of(s, incident.id)}
    if entry.id in linked:
        raise errors.AlreadyExists(f"{incident.name} has the entry {entry.id} already.")
    await _room(s, incident)
    said = f"{entry.verb} {entry.noun} {entry.key} by {entry.actor}"
    await incident_events.add(
        s, incident.id, Kind.LINK, f"{said}: {reason}" if reason else said, actor=actor,
        at_us=entry.at_us, recorded_at_us=at_us, intent_id=intent_id, entry_id=entry.id,
    )  # fmt: skip


async def _row(s: AsyncSession, incident: Incident) -> IncidentRow:
    row = await s.get_one(IncidentRow, incident.id, populate_existing=True)
    if row.version != incident.version:
        raise errors.Moved(f"{incident.name} changed since you looked; look again.")
    return row


async def _room(s: AsyncSession, incident: Incident) -> None:
    if await incident_events.count(s, incident.id) >= MOST_EVENTS:
        raise errors.Invalid(f"{incident.name} has {MOST_EVENTS} events; open another incident.")


async def _record(
    s: AsyncSession, incident: Incident, kind: Kind, sentence: str, before: object, after: object,
    *, actor: str, at_us: int, intent_id: int | None,
) -> None:  # fmt: skip
    """The event of a change and its ledger entry."""
    await s.flush()
    await incident_events.add(
        s, incident.id, kind, sentence, actor=actor, at_us=at_us, intent_id=intent_id
    )
    await ledger.write(
        s, actor=actor, verb=f"incidents.{kind}", noun="incident", key=str(incident.id),
        before=before, after=after, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
