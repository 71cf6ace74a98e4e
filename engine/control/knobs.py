"""Live knobs of workers: the value is kept here, the gateway hands it to the worker.

Imported by `engine.control.verbs`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from storage import knobs
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


async def set(s: Session, intent: Intent, wish: verbs.KnobsSet, at_us: int) -> Decision:
    """Turn a knob of a worker; the old value is kept for undo."""
    before = (await knobs.of(s, intent.target)).get(wish.name)
    if before == wish.value:
        said = f"{intent.target}: {wish.name} is {wish.value} already."
        return Decision(Reason.UNCHANGED, said, before)
    knob = await knobs.set(
        s,
        worker=intent.target,
        name=wish.name,
        value=wish.value,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, _told(knob), knob)


async def undo(s: Session, intent: Intent, wish: verbs.KnobsUndo, at_us: int) -> Decision:
    """Turn a knob back to where it was before."""
    knob = await knobs.undo(
        s,
        worker=intent.target,
        name=wish.name,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, _told(knob), knob)


def _told(knob: knobs.Knob) -> str:
    return f"{knob.worker}: {knob.name} is {knob.value} (before: {knob.previous})."
