"""What people do to an incident: open, note, take command, declare stable, close, reopen.

The offers of the two places of incidents. Imported by them.
"""

from __future__ import annotations

from typing import Final

from app import snapshot
from app.screens.offered import Verb
from app.screens.place import Offer

VERBS: Final = (
    Verb("incidents.note", "N", "note", "add a line to the timeline"),
    Verb("incidents.assign", "c", "command", ""),
    Verb("incidents.stable", "f", "stable", ""),
    Verb("incidents.close", "x", "close", ""),
    Verb("incidents.reopen", "u", "reopen", ""),
)
NAMES: Final = tuple(verb.name for verb in VERBS)
OPEN: Final = Verb("incidents.open", "n", "new", "open an incident")

_TITLE: Final = "what is wrong, in a few words; enter opens an incident"
_NOTE: Final = "what was seen, done or decided; enter adds it to the timeline"


def offer(
    name: str, incident: snapshot.IncidentRow | None, person: str, typed: str | None
) -> Offer | None:
    """What an action would do here; None where it is about something else."""
    if name not in NAMES:
        return _open(typed) if name == OPEN.name else None
    if incident is None:
        return Offer(unable="there is no incident under the cursor")
    if name == "incidents.note":
        return _note(incident, typed)
    if name == "incidents.assign":
        return _command(incident, person)
    return _move(name, incident)


def _command(incident: snapshot.IncidentRow, person: str) -> Offer:
    if incident.commander == person:
        return Offer(unable=f"you are the commander of {incident.name} already")
    before = f" (now: {incident.commander})" if incident.commander else ""
    return Offer(
        target=incident.name,
        arguments={"role": "commander", "person": person},
        expected_version=incident.version,
        effect=f"{incident.name}: you are its commander{before}",
    )


def _move(name: str, incident: snapshot.IncidentRow) -> Offer:
    effects = {
        "incidents.stable": (incident.active, "clients are no longer affected"),
        "incidents.close": (not incident.closed, "nothing is left to do but the post-mortem"),
        "incidents.reopen": (not incident.active, "clients are affected again"),
    }
    able, effect = effects[name]
    if not able:
        return Offer(unable=f"{incident.name} is {incident.state}")
    return Offer(
        target=incident.name,
        expected_version=incident.version,
        effect=f"{incident.name}: {effect}",
    )


def _open(typed: str | None) -> Offer:
    if typed is None:
        return Offer(form="", hint=_TITLE)
    if not (title := typed.strip()):
        return Offer(unable="say what is wrong", form=typed, hint=_TITLE)
    return Offer(arguments={"title": title[:200]}, effect=f"open an incident: {title[:200]}")


def _note(incident: snapshot.IncidentRow, typed: str | None) -> Offer:
    if typed is None:
        return Offer(form="", hint=_NOTE)
    if not (said := typed.strip()):
        return Offer(unable="type what was seen, done or decided", form=typed, hint=_NOTE)
    return Offer(
        target=incident.name,
        arguments={"sentence": said},
        effect=f"{incident.name}: note “{said}”",
    )
