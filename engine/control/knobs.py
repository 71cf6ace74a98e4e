"""Live knobs of workers: the value is kept here, the gateway hands it to the worker.

Imported by `engine.control.registry`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.registry import controls
from storage import knobs
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


@controls("knobs.set")
async def set(s: Session, intent: Intent, arguments: verbs.KnobsSet, at_us: int) -> Decision:
    """Turn a knob of a worker; the old value is kept for undo."""
    before = (await knobs.of(s, intent.target)).get(arguments.name)
    if before == arguments.value:
        said = f"{intent.target}: {arguments.name} is {arguments.value} already."
        return Decision(Reason.UNCHANGED, said, before)
    knob = await knobs.set(
        s,
        worker=intent.target,
        name=arguments.name,
        value=arguments.value,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, _told(knob), knob)


@controls("knobs.undo")
async def undo(s: Session, intent: Intent, arguments: verbs.KnobsUndo, at_us: int) -> Decision:
    """Turn a knob back to where it was before."""
    knob = await knobs.undo(
        s,
        worker=intent.target,
        name=arguments.name,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, _told(knob), knob)


def _told(knob: knobs.Knob) -> str:
    return f"{knob.worker}: {knob.name} is {knob.value} (before: {knob.previous})."
