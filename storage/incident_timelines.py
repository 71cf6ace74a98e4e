"""The timeline of an incident: its own events, the changes of the box, and the steps of runbooks.

Changes and steps are kept where they belong and merged when they are read, so that there is one
record of each. Reads only; read by `runbooks` and `app`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import changes, incident_events, run_events, run_steps, runs
from storage.incident_events import IncidentEvent
from storage.incidents import Incident, Kind

MOST_RUNS: Final = 200


class Source(StrEnum):
    """Where a line of the timeline comes from."""

    INCIDENT = "incident"
    CHANGE = "change"
    RUNBOOK = "runbook"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line: what happened when, and who did it. `kind` is that of an incident's own event.

    `linked` marks a change that a person said belongs to the incident; `before` one that was made
    before it began.
    """

    at_us: int
    source: Source
    actor: str
    sentence: str
    kind: Kind | None = None
    entry_id: int | None = None
    linked: bool = False
    before: bool = False


async def read(s: AsyncSession, incident: Incident, now_us: int) -> list[Line]:
    """All lines, oldest first, from an hour before the incident to its end."""
    return await _lines(s, incident, await incident_events.of(s, incident.id), now_us)


async def read_at(s: AsyncSession, incident: Incident, at_us: int) -> list[Line]:
    """The lines as they were at a past moment; `incident` is as it was then."""
    events = await incident_events.of(s, incident.id)
    recorded = [event for event in events if event.recorded_at_us <= at_us]
    return [each for each in await _lines(s, incident, recorded, at_us) if each.at_us <= at_us]


async def _lines(
    s: AsyncSession, incident: Incident, events: Sequence[IncidentEvent], now_us: int
) -> list[Line]:
    """Events of an incident, and beside them the changes that none of them links."""
    begin = incident.began_at_us - changes.LOOK_BACK_US
    end = incident.closed_at_us or now_us
    linked = {event.entry_id for event in events if event.entry_id is not None}
    lines = [
        Line(
            at_us=event.at_us, source=Source.INCIDENT, kind=event.kind, actor=event.actor,
            sentence=event.sentence, entry_id=event.entry_id, linked=event.entry_id is not None,
            before=event.at_us < incident.began_at_us,
        )
        for event in events
    ]  # fmt: skip
    lines += [
        Line(
            at_us=change.entry.at_us,
            source=Source.CHANGE,
            actor=change.entry.actor,
            sentence=change.sentence,
            entry_id=change.entry.id,
            before=change.entry.at_us < incident.began_at_us,
        )
        for change in await changes.between(s, begin, end, service=incident.service)
        if change.entry.id not in linked
    ]
    lines += await _of_runs(s, incident, end)
    return sorted(lines, key=lambda line: line.at_us)


async def _of_runs(s: AsyncSession, incident: Incident, end_us: int) -> Iterable[Line]:
    """What the runs of runbooks did from the beginning of the incident on."""
    found = []
    for run in await runs.tail(s, MOST_RUNS):
        if not incident.began_at_us <= run.began_at_us <= end_us:
            continue
        if incident.service not in {None, run.inputs.get("service", incident.service)}:
            continue
        name = f"{run.runbook} (run {run.id})"
        events = await run_events.of(s, run.id)
        found += [(each.at_us, each.actor, f"{name} {each.words}") for each in events]
        if events:
            continue
        found.append((run.began_at_us, run.actor, f"{name} began"))
        found += [
            (step.ended_at_us, run.actor, f"{name} {step.name}: {step.sentence}")
            for step in await run_steps.of(s, run.id)
            if step.ended_at_us is not None and step.sentence
        ]
    return [
        Line(at_us=at_us, source=Source.RUNBOOK, actor=actor, sentence=sentence)
        for at_us, actor, sentence in found
    ]
