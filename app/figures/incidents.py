"""Incidents as the places show them: all that there were, and one of them in full.

Imported by `app.figures.reading` and `app.reader`.
"""

from __future__ import annotations

from app import incident_view, snapshot, words
from storage import incidents
from storage.incidents import Incident, Role, State
from storage.past import incidents as past_incidents
from storage.store import Session


async def rows(s: Session, id: int, now_us: int, *, limit: int) -> snapshot.Incidents:
    """The newest incidents, and the one with this number in full; 0 is the newest."""
    found = await incidents.tail(s, limit)
    chosen = next((each for each in found if each.id == id), found[0] if found else None)
    return snapshot.Incidents(
        rows=tuple(row(each) for each in found),
        shown=None if chosen is None else await full(s, chosen.id, now_us),
    )


async def rows_at(s: Session, id: int, at_us: int, *, limit: int) -> snapshot.Incidents:
    """The same as they were at a past moment."""
    found = await past_incidents.tail(s, at_us, limit)
    chosen = next((each for each in found if each.id == id), found[0] if found else None)
    return snapshot.Incidents(
        rows=tuple(row(each) for each in found),
        shown=None if chosen is None else await full_at(s, chosen.id, at_us),
    )


async def full(s: Session, id: int, now_us: int) -> snapshot.Incident:
    """One incident.

    Raises:
        NotFound: there is no such incident.
    """
    return _full(await incident_view.read(s, id, now_us))


async def full_at(s: Session, id: int, at_us: int) -> snapshot.Incident:
    """One incident as it was at a past moment.

    Raises:
        NotFound: there is no such incident, or it had not been opened.
    """
    return _full(await incident_view.read_at(s, id, at_us))


def _full(view: incident_view.View) -> snapshot.Incident:
    lines = [*incident_view.facts(view), "", *incident_view.impact(view.impact)]
    if view.items:
        lines += ["", *incident_view.todo(view)]
    return snapshot.Incident(
        row=row(view.incident),
        lines=tuple(map(words.safe, lines)),
        timeline=tuple(
            (line.at_us, line.actor, incident_view.sentence(line)) for line in view.timeline
        ),
    )


def row(incident: Incident) -> snapshot.IncidentRow:
    """One incident in the list."""
    return snapshot.IncidentRow(
        id=incident.id,
        title=incident.title,
        service=incident.service or "",
        severity=incident.severity.value,
        state=incident.state.value,
        commander=incident.roles.get(Role.COMMANDER, ""),
        began_at_us=incident.began_at_us,
        until_us=None if incident.state is State.ACTIVE else incident.until_us(0),
        version=incident.version,
    )
