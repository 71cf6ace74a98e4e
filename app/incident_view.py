"""One incident as people see it: its facts, its impact so far, and its timeline.

The view model of the command line and of the screen. Reads the store and decides nothing.
Imported by `app`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from app import listing, words
from app.listing import Column
from storage import (
    alerts,
    incident_alerts,
    incident_impacts,
    incident_timelines,
    incidents,
    post_mortems,
)
from storage.home import config
from storage.incident_alerts import Joined
from storage.incident_impacts import Impact, Met
from storage.incident_timelines import Line, Source
from storage.incidents import Incident, Kind, State
from storage.past import incidents as past_incidents
from storage.post_mortems import ActionItem
from storage.store import Session

_SECOND_US: Final = 1_000_000


class View(msgspec.Struct, frozen=True, kw_only=True):
    """An incident with everything that is known of it at `now_us`."""

    incident: Incident
    impact: Impact
    timeline: tuple[Line, ...]
    items: tuple[ActionItem, ...]
    alerts: tuple[Joined, ...]
    runbooks: tuple[str, ...]
    now_us: int


async def read(s: Session, id: int, now_us: int, price: config.Price | None = None) -> View:
    """By its number.

    Raises:
        NotFound: there is no such incident.
    """
    incident = await incidents.find(s, id)
    joined = await incident_alerts.of(s, id)
    return View(
        incident=incident,
        impact=await incident_impacts.count(s, incident, now_us, price),
        timeline=tuple(await incident_timelines.read(s, incident, now_us)),
        items=tuple(await post_mortems.items(s, id)),
        alerts=tuple(joined),
        runbooks=await _runbooks(s, joined),
        now_us=now_us,
    )


async def read_at(s: Session, id: int, at_us: int, price: config.Price | None = None) -> View:
    """An incident as it was at a past moment.

    Raises:
        NotFound: there is no such incident, or it had not been opened.
    """
    incident = await past_incidents.find(s, id, at_us)
    joined = await past_incidents.alerts_of(s, id, at_us)
    return View(
        incident=incident,
        impact=await incident_impacts.count(s, incident, at_us, price),
        timeline=tuple(await incident_timelines.read_at(s, incident, at_us)),
        items=tuple(await past_incidents.items(s, at_us, id)),
        alerts=tuple(joined),
        runbooks=await _runbooks(s, joined),
        now_us=at_us,
    )


async def _runbooks(s: Session, joined: Iterable[incident_alerts.Joined]) -> tuple[str, ...]:
    """What the alerts name, each once."""
    known = await alerts.of_ids(s, [each.alert_id for each in joined])
    return tuple(dict.fromkeys(each.runbook for each in known.values() if each.runbook is not None))


def lines(view: View) -> Iterable[str]:
    """It as text."""
    yield headline(view.incident, view.now_us)
    yield from facts(view)
    yield ""
    yield from impact(view.impact)
    yield ""
    yield from timeline(view.timeline)
    if view.items:
        yield ""
        yield from todo(view)


def headline(incident: Incident, now_us: int) -> str:
    """In one line: INC-31  active  sev2  support  12 min: answers are slow."""
    spent = words.duration(incident.until_us(now_us) - incident.began_at_us)
    service = incident.service or "whole box"
    said = f"{incident.name}  {incident.state}  {incident.severity}  {service}  {spent}"
    return words.safe(f"{said}: {incident.title}")


def facts(view: View) -> Iterable[str]:
    """Who works on it and since when."""
    incident = view.incident
    after_us = max(incident.opened_at_us - incident.began_at_us, 0)
    noticed = f"{words.duration(after_us)} later" if after_us >= _SECOND_US else "at once"
    rows = [
        ("began", words.clock(incident.began_at_us)),
        (
            "opened",
            f"{words.clock(incident.opened_at_us)} by {incident.opened_by}, {noticed}",
        ),
    ]
    if incident.state is not State.ACTIVE:
        rows.append(("stable", words.clock(incident.stable_at_us)))
    if incident.closed_at_us is not None:
        rows.append(("closed", words.clock(incident.closed_at_us)))
    roles = ", ".join(f"{role} {person}" for role, person in incident.roles.items())
    rows.append(("roles", roles or "not assigned: `paddock incidents assign` gives them"))
    if view.alerts:
        said = (f"{e.rule} ({'over' if e.ended_at_us else 'firing'})" for e in view.alerts)
        rows.append(("alerts", ", ".join(said)))
    for name in view.runbooks:
        given = f" service={incident.service}" if incident.service else ""
        rows.append(("runbook", f"`paddock runbooks start {name}{given}`"))
    return words.table([["", name, value] for name, value in rows])


def todo(view: View) -> Iterable[str]:
    """The action items."""
    yield "action items"
    for item in view.items:
        mark = "done" if item.done_at_us else "open"
        yield words.safe(f"  {item.id}  {mark}  {item.owner}: {item.title}")


def impact(found: Impact) -> Iterable[str]:
    """What clients met, a row for each service."""
    if not found.services:
        return ["impact: no client sent a request in this time"]
    if all(each.spent_micro is None for each in found.services):
        return listing.table(IMPACT, found.services)
    spent = Column[Met](
        "COST", lambda each: words.money(each.spent_micro, found.currency), right=True
    )
    return listing.table((*IMPACT, spent), found.services)


def timeline(found: Iterable[Line]) -> Iterable[str]:
    """A line for each event, oldest first."""
    rows = [["AT", "WHO", "WHAT"]]
    rows += [[words.clock(line.at_us), line.actor, sentence(line)] for line in found]
    return words.table(rows)


def sentence(line: Line) -> str:
    """What happened, with what it is."""
    if line.source is Source.CHANGE:
        when = "changed before" if line.before else "changed"
        return f"{when} (entry {line.entry_id}): {line.sentence}"
    if line.source is Source.RUNBOOK:
        return f"runbook {line.sentence}"
    if line.kind in {Kind.NOTE, Kind.MOVED, None}:
        return line.sentence
    return f"{line.kind}: {line.sentence}"


def _beside(now: str, before: str) -> str:
    return f"{now} (hour before: {before})"


IMPACT: Final[tuple[Column[Met], ...]] = (
    Column("IMPACT ON", lambda each: each.service),
    Column("REQUESTS", lambda each: str(each.requests), right=True),
    Column("FAILED", lambda each: str(each.failed), right=True),
    Column("REFUSED", lambda each: str(each.refused), right=True),
    Column("USERS", lambda each: str(each.users), right=True),
    Column("KEYS", lambda each: str(each.keys), right=True),
    Column(
        "ERRORS",
        lambda each: _beside(words.percent(each.error_rate), words.percent(each.error_rate_before)),
        below=True,
    ),
    Column(
        "P95",
        lambda each: _beside(
            words.duration(each.latency_p95), words.duration(each.latency_p95_before)
        ),
        below=True,
    ),
)
