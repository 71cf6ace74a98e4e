"""Incidents as people ask for them: opened, noted, rated, assigned, moved, written up.

Each verb decides by the incident as it is in its own transaction. Imported by
`engine.control.handlers`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import incidents, ledger, post_mortems, services
from storage.control_socket import verbs
from storage.incidents import Incident, State
from storage.intents import Intent
from storage.store import Session


@handles("incidents.open")
async def open_up(
    s: Session, intent: Intent, arguments: verbs.incidents.Open, at_us: int
) -> Decision:
    """A new incident, on a service or on the whole box."""
    if arguments.service is not None:
        await services.find(s, arguments.service)
    opened = await incidents.open_up(
        s,
        title=arguments.title,
        service=arguments.service,
        severity=arguments.severity,
        began_at_us=arguments.began_at_us,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, f"Opened {opened.name}: {opened.title}.", opened)


@handles("incidents.note")
async def note(s: Session, intent: Intent, arguments: verbs.incidents.Note, at_us: int) -> Decision:
    """Add a line to the timeline, also of a closed incident."""
    found = await _named(s, intent)
    await incidents.note(
        s, found, arguments.sentence, actor=intent.actor, at_us=at_us,
        happened_at_us=arguments.at_us, intent_id=intent.id,
    )  # fmt: skip
    return Decision(Reason.APPLIED, f"Noted in {found.name}.", found)


@handles("incidents.rate")
async def rate(s: Session, intent: Intent, arguments: verbs.incidents.Rate, at_us: int) -> Decision:
    """Change the severity."""
    found = await _named(s, intent)
    if found.severity is arguments.severity:
        return Decision(Reason.UNCHANGED, f"{found.name} is {found.severity} already.", found)
    if (moved := _unseen(intent, found, f"it is {found.severity}")) is not None:
        return moved
    rated = await incidents.rate(
        s, found, arguments.severity, actor=intent.actor, at_us=at_us, intent_id=intent.id,
        reason=intent.reason,
    )  # fmt: skip
    said = f"{found.name} is {rated.severity} (before: {found.severity})."
    return Decision(Reason.APPLIED, said, rated)


@handles("incidents.assign")
async def assign(
    s: Session, intent: Intent, arguments: verbs.incidents.Assign, at_us: int
) -> Decision:
    """Give a role to a person, or take it away."""
    found = await _named(s, intent)
    holder = found.roles.get(arguments.role)
    if holder == arguments.person:
        said = f"{arguments.role} of {found.name} is {holder or 'not assigned'} already."
        return Decision(Reason.UNCHANGED, said, found)
    is_now = f"its {arguments.role} is {holder or 'not assigned'}"
    if (moved := _unseen(intent, found, is_now)) is not None:
        return moved
    await incidents.assign(
        s, found, arguments.role, arguments.person, actor=intent.actor, at_us=at_us,
        intent_id=intent.id,
    )  # fmt: skip
    before = f" (before: {holder})" if holder else ""
    said = f"{arguments.role} of {found.name}: {arguments.person or 'not assigned'}{before}."
    return Decision(Reason.APPLIED, said, found)


@handles("incidents.stable")
async def stable(
    s: Session, intent: Intent, arguments: verbs.incidents.Stable, at_us: int
) -> Decision:
    """Clients are no longer affected."""
    return await _move(s, intent, State.STABLE, at_us, arguments.at_us)


@handles("incidents.close")
async def close(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Nothing is left to do but the post-mortem."""
    return await _move(s, intent, State.CLOSED, at_us)


@handles("incidents.reopen")
async def reopen(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Clients are affected again."""
    return await _move(s, intent, State.ACTIVE, at_us)


@handles("incidents.link")
async def link(s: Session, intent: Intent, arguments: verbs.incidents.Link, at_us: int) -> Decision:
    """Say that a change belongs to the incident."""
    found = await _named(s, intent)
    entry = await ledger.find(s, arguments.entry)
    await incidents.link(
        s, found, entry, actor=intent.actor, at_us=at_us, intent_id=intent.id,
        reason=intent.reason,
    )  # fmt: skip
    said = f"Linked {entry.verb} of {entry.noun} {entry.key} to {found.name}."
    return Decision(Reason.APPLIED, said, found)


@handles("incidents.write")
async def write(
    s: Session, intent: Intent, arguments: verbs.incidents.Write, at_us: int
) -> Decision:
    """Write a section of the post-mortem."""
    found = await _named(s, intent)
    text = arguments.text.strip()
    changed = await post_mortems.write(
        s, found, arguments.section, text, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    section = arguments.section.replace("_", " ")
    if not changed:
        return Decision(Reason.UNCHANGED, f"The {section} of {found.name} says so already.", found)
    said = "Wrote" if text else "Removed"
    return Decision(Reason.APPLIED, f"{said} the {section} of {found.name}.", found)


@handles("incidents.add_item")
async def add_item(
    s: Session, intent: Intent, arguments: verbs.incidents.AddItem, at_us: int
) -> Decision:
    """Add an action item."""
    found = await _named(s, intent)
    item = await post_mortems.add_item(
        s, found, arguments.title, arguments.owner, actor=intent.actor, at_us=at_us,
        intent_id=intent.id,
    )  # fmt: skip
    said = f"Action item {item.id} of {found.name}, for {item.owner}: {item.title}."
    return Decision(Reason.APPLIED, said, item)


@handles("incidents.finish_item")
async def finish_item(
    s: Session, intent: Intent, arguments: verbs.incidents.Item, at_us: int
) -> Decision:
    """Mark an action item as done."""
    found = await _named(s, intent)
    item = await post_mortems.finish_item(
        s, found, arguments.item, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    return Decision(Reason.APPLIED, f"Action item {item.id} is done: {item.title}.", item)


async def _move(
    s: Session, intent: Intent, to: State, at_us: int, effective_at_us: int | None = None
) -> Decision:
    found = await _named(s, intent)
    if found.state is to:
        return Decision(Reason.UNCHANGED, f"{found.name} is {to} already.", found)
    if (unseen := _unseen(intent, found, f"it is {found.state}")) is not None:
        return unseen
    moved = await incidents.move(
        s, found, to, intent.reason, actor=intent.actor, at_us=at_us, intent_id=intent.id,
        effective_at_us=effective_at_us,
    )  # fmt: skip
    return Decision(Reason.APPLIED, f"{moved.name} is {to} (before: {found.state}).", moved)


def _unseen(intent: Intent, found: Incident, is_now: str) -> Decision | None:
    """The refusal of an intent that saw an earlier version of the incident; else None."""
    if intent.expected_version in {None, found.version}:
        return None
    said = f"{found.name} changed since you looked: {is_now} now; look again."
    return Decision(Reason.MOVED, said)


async def _named(s: Session, intent: Intent) -> Incident:
    return await incidents.find(s, incidents.number(intent.target))
